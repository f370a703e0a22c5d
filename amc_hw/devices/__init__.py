"""The machines that networks are measured on: one protocol, one file for each kind of device, one registry."""
