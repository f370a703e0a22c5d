"""Networks as files that devices run, one file here for each format; `formats` knows them all."""
