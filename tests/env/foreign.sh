# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Programs for arm64 on this machine: in namespaces of their own, in which the kernel runs them by qemu-aarch64.

# foreign COMMAND...: runs COMMAND, as root and with files of any owner, which takes the rights of root here.
# Nothing is registered outside: binfmt_misc is per user namespace since Linux 6.7.
foreign() {
	local ready go pid status=0
	exec {ready}<> <(:) {go}<> <(:)
	# shellcheck disable=SC2016 # for the inner shell
	unshare --user --mount --propagation private bash -euc '
		echo >&"$1"
		read -r _ <&"$2"
		mount -t binfmt_misc none /proc/sys/fs/binfmt_misc ||
			{ echo "error: this needs Linux 6.7 or later: no binfmt_misc in a user namespace" >&2; exit 1; }
		# The header of a program for arm64, and its mask (Documentation/admin-guide/binfmt-misc.rst).
		echo ":arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:$3/usr/bin/qemu-aarch64:OCF" \
			>/proc/sys/fs/binfmt_misc/register
		exec "${@:4}"
	' foreign "$ready" "$go" "$ROOT" "$@" &
	pid=$!
	read -r _ <&"$ready"
	echo "0 0 65536" >"/proc/$pid/uid_map"
	echo "0 0 65536" >"/proc/$pid/gid_map"
	echo >&"$go"
	wait "$pid" || status=$?
	exec {ready}>&- {go}>&-
	return "$status"
}
