#!/bin/sh
# Boots the loopback phone: makes the phone's folder the root of a mount namespace and starts its daemon there.
# Runs as root of a user namespace of its own (see loopback_phone.py), so it needs no rights on the machine.
# usage: boot.sh PHONE DATA_BYTES PYTHON [READ_ONLY_FOLDER ...]
#   PHONE             folder with system/, data/, sys/ and state/
#   DATA_BYTES        0, or the size of a /data that lives in memory and can be full
#   READ_ONLY_FOLDER  what Python needs, seen on the phone under the same path
set -eu
phone=$1 data_bytes=$2 python=$3
shift 3

read_only() {
    # A user namespace may not drop the flags that the machine has set on a mount.
    mount -o remount,bind,ro "$1" 2>/dev/null || mount -o remount,bind,ro,nosuid,nodev "$1"
}

mount -t tmpfs -o mode=755 loopback "$phone/root"
cd "$phone/root"
mkdir -p dev proc sys system data mnt/loopback old
mount --rbind /dev dev
mount -t proc proc proc
mount --bind "$phone/sys" sys
read_only sys
mount --bind "$phone/system" system
read_only system
mount --bind "$phone/state" mnt/loopback
if [ "$data_bytes" -gt 0 ]; then
    mount -t tmpfs -o "mode=771,size=$data_bytes" data data
else
    mount --bind "$phone/data" data
fi
mkdir -p data/local/tmp
ln -s system/bin bin
ln -s system/etc etc
for folder in /usr /lib /lib64 /lib32 "$@"; do
    if [ -L "$folder" ]; then
        ln -s "$(readlink "$folder")" ".$folder"
    elif [ -d "$folder" ] && [ ! -e ".$folder" ]; then
        mkdir -p ".$folder"
        mount --rbind "$folder" ".$folder"
        read_only ".$folder"
    fi
done
pivot_root . old
cd /
umount -l old
rmdir old
read_only /

# This shell is the phone's init: it collects orphans, and all processes end with it. As on Android, adbd and
# what it starts belong to user 2000 ("shell"), without a right over mounts or others' files.
exec 3<&0
unshare --user --map-user=2000 --map-group=2000 -- "$python" /system/loopback/adbd.py <&3 &
wait $!
