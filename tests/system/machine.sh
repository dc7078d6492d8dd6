#!/bin/sh
# A machine made of namespaces: processes, files, network, cgroups of its own on this kernel, the host's files below a layer
# that is thrown away. Nothing of it is left once process 1 has ended; whoever starts it ends it with `--kill-child`.
#
# machine.sh enter BASE CGROUP EXECUTABLE PROCESS-1…   in new namespaces of mount, network, host name and IPC
# machine.sh inner BASE EXECUTABLE PROCESS-1…          what `enter` runs as process 1
# machine.sh clean PREFIX PID                          removes cgroups left by tests that have ended, and by PID
set -eu

# The unified hierarchy, wherever the host has mounted it, or has not.
mount_cgroups() {
	mount -t cgroup2 cgroup2 "$1"
}

case $1 in
clean)
	mount_cgroups /mnt
	for left in /mnt/"$2"*; do
		pid=${left##*-}
		if [ "$pid" = "$3" ] || ! [ -d "/proc/$pid" ]; then
			find "$left" -depth -type d -exec rmdir {} + 2>/dev/null || :
		fi
	done
	exit 0
	;;
enter)
	base=$2 cgroup=$3
	shift 3
	mount_cgroups "$base"
	mkdir -p "$base/$cgroup"
	echo $$ >"$base/$cgroup/cgroup.procs"
	umount "$base"
	ip link set lo up
	hostname machine
	exec unshare --pid --fork --kill-child --cgroup -- "$0" inner "$base" "$@"
	;;
esac

base=$2 executable=$3
shift 3
mount -t tmpfs -o size=512m,mode=755 machine "$base"
mkdir "$base/upper" "$base/work" "$base/root"
root=$base/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$root"

mount -t proc proc "$root/proc"
# The host's settings are not the machine's to change.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount_cgroups "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
	: >"$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
: >"$root/dev/console"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/lock"

# Of all that a host starts, the journal alone.
units=$root/usr/lib/systemd/system
if [ -d "$units" ]; then
	rm -rf "$root"/etc/systemd/system/* "$units"/*.wants "$root"/usr/lib/systemd/system-generators
	mkdir "$units/sysinit.target.wants" "$units/sockets.target.wants"
	ln -s ../systemd-journald.service "$units/sysinit.target.wants/"
	ln -s ../systemd-journald.socket "$units/sockets.target.wants/"
	mkdir -p "$root/etc/systemd/journald.conf.d"
	printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/machine.conf"
	echo 12345678901234567890123456789012 >"$root/etc/machine-id"
	: >"$root/etc/fstab"
fi
rm -rf "$root/run/pointsman" "$root/etc/pointsman.toml"
install -m 755 "$executable" "$root/usr/bin/pointsman"

cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
cd /
exec env -i container=machine PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
