#!/system/bin/sh
# Tells what decides how fast this phone is now: one `name values` a line, and the words of two services.
# What Android refuses to tell is missing or reads `refused`; the computer that asked makes sense of it.

show() { # NAME FILE: the file's first line
    value=refused
    [ -r "$2" ] && read -r value <"$2"
    echo "$1 ${value:-refused}"
} 2>/dev/null

for folder in /sys/devices/system/cpu/cpu[0-9]*; do
    cpu=${folder##*/cpu}
    show "maximum_khz $cpu" "$folder/cpufreq/cpuinfo_max_freq"
    show "cap_khz $cpu" "$folder/cpufreq/scaling_max_freq"
    show "current_khz $cpu" "$folder/cpufreq/scaling_cur_freq"
done
show load /proc/loadavg
echo "service thermalservice"
dumpsys thermalservice 2>&1
echo "service battery"
dumpsys battery 2>&1
echo "service end"
