#!/system/bin/sh
# Ends what amc-hw left running on this phone and puts the settings back that it changed.
# usage: sh clean.sh FOLDER
#   FOLDER  the one folder that amc-hw uses here; only processes that name a file in it are ours
folder=$1

# /proc instead of `ps`, whose options differ between versions of Android; the caller is not ended.
for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [ "$pid" = $$ ] && continue
    [ "$pid" = $PPID ] && continue
    command=$(cat "$process/cmdline" 2>/dev/null)
    case $command in
    *"$folder"/*) kill -9 "$pid" 2>/dev/null ;;
    esac
done

if [ -f "$folder/stay_on.saved" ]; then
    read -r value <"$folder/stay_on.saved"
    if [ "$value" = null ]; then
        settings delete global stay_on_while_plugged_in >/dev/null 2>&1
    else
        settings put global stay_on_while_plugged_in "$value" >/dev/null 2>&1
    fi && rm -f "$folder/stay_on.saved"
fi
if [ -f "$folder/asleep.saved" ]; then
    input keyevent KEYCODE_SLEEP >/dev/null 2>&1
    rm -f "$folder/asleep.saved"
fi
rm -rf "$folder/models" "$folder/session"
exit 0
