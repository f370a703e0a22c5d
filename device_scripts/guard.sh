#!/system/bin/sh
# Keeps this phone awake while somebody measures, and cleans up when they leave, however they leave.
# usage: sh guard.sh FOLDER TOKEN
#   TOKEN  names this session; a guard that was replaced by a newer one leaves everything to that one
# Prints `ready` and waits for the end of its input. The end of the connection is also a hang-up (SIGHUP).
folder=$1 token=$2
scripts=${0%/*}

leave() {
    owner=
    [ -f "$folder/session" ] && read -r owner <"$folder/session"
    [ "$owner" = "$token" ] && sh "$scripts/clean.sh" "$folder"
}

# First the name, so that an older guard that is leaving lets us be; cleaning removes it.
echo "$token" >"$folder/session" || exit 1
sh "$scripts/clean.sh" "$folder"
echo "$token" >"$folder/session" || exit 1
mkdir -p "$folder/models" || exit 1
trap leave EXIT
trap 'exit 1' HUP INT TERM PIPE

# What is refused here stays as it is: a screen that goes dark slows few phones down.
value=$(settings get global stay_on_while_plugged_in 2>/dev/null)
case $value in
null | [0-9]*)
    if [ "$value" != 7 ]; then
        echo "$value" >"$folder/stay_on.saved"
        settings put global stay_on_while_plugged_in 7 >/dev/null 2>&1
    fi
    ;;
esac
case $(dumpsys power 2>/dev/null) in
*mWakefulness=Asleep* | *mWakefulness=Dozing*)
    echo asleep >"$folder/asleep.saved"
    input keyevent KEYCODE_WAKEUP >/dev/null 2>&1
    ;;
esac

echo ready
while read -r _; do :; done
exit 0
