# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A fresh arm64 Debian on this machine, by user-mode emulation, and the tools that make and run it.
#
# Nothing is registered with the machine's kernel: the interpreter of arm64 programs is registered in a user namespace
# only, which needs Linux 6.7.

ARM64_TOOLS=(
	apt base-files bash coreutils dash debian-archive-keyring debianutils diffutils e2fsprogs findutils grep gzip
	hostname libc-bin mawk mmdebstrap mount perl qemu-user sed tar util-linux xz-utils zstd
)

build_arm64_tools() {
	local root=$1/root
	fetch_with_dependencies amd64 "${ARM64_TOOLS[@]}"
	with_dependencies amd64 "${ARM64_TOOLS[@]}" | unpack "$root"
	[ -e "$root/usr/bin/sh" ] || ln -s dash "$root/usr/bin/sh"
	[ -e "$root/usr/bin/awk" ] || ln -s mawk "$root/usr/bin/awk"
	mkdir -p "$root"/{dev,proc,sys,tmp,run,root} "$root"/var/{tmp,lib/dpkg}
	printf '%s\n' 'root:x:0:0:root:/tmp:/bin/bash' '_apt:x:42:65534::/nonexistent:/usr/sbin/nologin' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	rm -rf "$root"/usr/share/{doc,locale,man}
}

want_arm64_tools() {
	step arm64-tools build_arm64_tools -- "$(with_dependencies amd64 "${ARM64_TOOLS[@]}")" "$(declare -f unpack)"
	ARM64_TOOLS_ROOT=$result/root
	[ "$(id -u)" = 0 ] || need newuidmap uidmap
	[ -n "${plan:-}" ] || in_arm64 true || exit
}

# map_ids PID: maps the IDs of that process's user namespace. A Debian has many users: root maps all IDs of this
# machine, an ordinary user the subordinate ones.
map_ids() {
	local kind first count map
	for kind in uid gid; do
		if [ "$(id -u)" = 0 ]; then
			echo '0 0 65536' >"/proc/$1/${kind}_map" || return
			continue
		fi
		IFS=: read -r _ first count < <(grep -s "^$(id -un):" "/etc/sub$kind") || {
			echo "this user has no subordinate ids (/etc/sub$kind): have them given (as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)), or run as root"
			return 1
		}
		map=(0 "$(id "-${kind:0:1}")" 1 1 "$first" "$count")
		"new${kind}map" "$1" "${map[@]}" || return
	done
}

# in_arm64 COMMAND...: runs a command on this machine in namespaces of its own, where it is root and arm64 programs run.
in_arm64() {
	local pipes mapper status=0
	pipes=$(mktemp -d)
	mkfifo "$pipes/pid" "$pipes/go"
	{
		read -r pid <"$pipes/pid"
		map_ids "$pid" >"$pipes/said" 2>&1 || :
		tr '\n' ' ' <"$pipes/said" >"$pipes/go"
	} &
	mapper=$!
	# shellcheck disable=SC2016 # for the inner shell
	unshare --user --mount --propagation private bash -euc '
		pipes=$1 interpreter=$2
		shift 2
		echo $$ >"$pipes/pid"
		refused=$(cat "$pipes/go")
		[ -z "$refused" ] || { echo "error: no user namespace with the users of a Debian: $refused" >&2; exit 1; }
		mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc || {
			echo "error: this kernel ($(uname -r)) has no binfmt_misc for user namespaces: it takes Linux 6.7 or later, with CONFIG_BINFMT_MISC (modprobe binfmt_misc)" >&2
			exit 1
		}
		# An ELF file of 64 bits, little endian, executable or shared, for machine 183. The interpreter is opened now (F),
		# sees argv[0] as it is (P), and lets sudo be setuid (C).
		echo ":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$interpreter:POCF" \
			>/proc/sys/fs/binfmt_misc/register
		exec "$@"' in_arm64 "$pipes" "$ARM64_TOOLS_ROOT/usr/bin/qemu-aarch64" "$@" || status=$?
	kill "$mapper" 2>/dev/null || :
	rm -r "$pipes"
	return "$status"
}

# enter_arm64 ROOT [FROM=TO]... -- COMMAND...: runs a command in ROOT, in_arm64, with FROM of this machine as TO there,
# and with this machine's network. Only the variables named here are passed on. The processor has no pointer
# authentication and no SVE: emulating those takes compilers a third more time.
enter_arm64() {
	# shellcheck disable=SC2016 # for the inner shell
	in_arm64 bash -euc '
		root=$1
		shift
		for dir in proc sys dev; do mount --rbind "/$dir" "$root/$dir"; done
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		while [ "$1" != -- ]; do
			mkdir -p "$root${1#*=}"
			mount --rbind "${1%%=*}" "$root${1#*=}"
			shift
		done
		cat /etc/resolv.conf >"$root/etc/resolv.conf"
		exec chroot "$root" /usr/bin/env -i QEMU_CPU=neoverse-n1 "${@:2}"
	' enter_arm64 "$1" "${@:2:$#}"
}

# with_arm64_tools COMMAND...: runs a tool in_arm64, with the cache and this checkout at their own paths.
with_arm64_tools() {
	enter_arm64 "$ARM64_TOOLS_ROOT" "$CACHE=$CACHE" "$TOP=$TOP" -- \
		PATH=/usr/sbin:/usr/bin HOME=/tmp LANG=C.UTF-8 "$@"
}

# Makes a Debian like its installer, without a kernel and with backports in its sources. It is made in memory, so that
# the disk only has a tar file of the user's.
build_arm64_debian() {
	with_arm64_tools mmdebstrap --verbose --mode=root --arch=arm64 --variant=important --skip=check/qemu \
		--include=sudo,initramfs-tools --aptopt="$CACHE/apt/network.conf" "$2" "$1/debian.tar" \
		"$CACHE/apt/sources.d/debian.sources"
}

want_arm64_debian() {
	want_arm64_tools
	apt-config dump | grep -iE '^Acquire::(http|https|ftp)(::[^:]+)?::(Proxy|Proxy-Auto-Detect|CAInfo|Timeout)' \
		>"$CACHE/apt/network.conf" || :
	step arm64-debian build_arm64_debian "$SUITE" -- "$(alone arm64 base-files)"
	ARM64_DEBIAN=$result/debian.tar
}
