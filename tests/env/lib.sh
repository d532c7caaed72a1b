# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Messages, the cache, and `step`, by which everything is fetched and built.

TOP=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd -P)
CACHE=${ARM_SPE_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/arm-spe-pmu}
JOBS=${JOBS:-$(nproc)}
PATH=$PATH:/usr/sbin:/sbin	# an ordinary user's PATH has no chroot

say() { printf '[%s] %s\n' "$1" "${*:2}"; }

die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# need COMMAND PACKAGE: checks that the host has COMMAND, which is in Debian's PACKAGE.
need() {
	command -v "$1" >/dev/null 2>&1 ||
		die "the command '$1' is missing on this machine: install the Debian package '$2' and run again"
}

check_host() {
	[ "$(uname -m)" = x86_64 ] ||
		die "this needs an amd64 machine; on arm64 there are make, make install, make sign and, with the packages debhelper and dh-dkms, or rpm, make deb or make rpm"
	need apt-get apt
	need apt-cache apt
	need dpkg-deb dpkg
	need tar tar
	need sha256sum coreutils
	need flock util-linux
	need unshare util-linux
	need mount mount
	need awk mawk
	[ -n "${ARM_SPE_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] ||
		die "HOME is not set, so that there is no place for the cache: set it, or ARM_SPE_CACHE"
	if ! mkdir -p "$TOP/build" 2>/dev/null || [ ! -w "$TOP/build" ]; then
		die "cannot write to $TOP/build: use a checkout of your own"
	fi
	if ! mkdir -p "$CACHE/log" 2>/dev/null || [ ! -w "$CACHE" ]; then
		die "cannot write to the cache $CACHE: free space there, or name another place in ARM_SPE_CACHE"
	fi
	CACHE=$(cd "$CACHE" && pwd -P)
}

# Locks the cache for one builder at a time. All processes of a builder inherit the lock, so that those of an
# interrupted run are waited for.
lock() {
	[ -z "${locked:-}" ] || return 0
	exec 9>>"$CACHE/lock"
	if ! flock -n 9; then
		say lock "process $(cat "$CACHE/lock") builds in $CACHE: waiting for it"
		flock 9
	fi
	echo $$ >"$CACHE/lock"
	locked=1
	rm -rf "$CACHE/tmp"	# what interrupted builds left
	mkdir -p "$CACHE/tmp"
}

# files_hash PATH...: prints a hash of files and directories of this checkout, which does not depend on its place.
files_hash() { (cd "$TOP" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum); }

# Prints the cause of a failed build according to its log, and what can be done.
cause_of() {
	local log=$1 free
	free=$(df --output=avail -k "$CACHE" | tail -n 1)
	if [ "$free" -lt 20000 ] || grep -q 'No space left on device\|enough free space' "$log"; then
		echo "the disk that holds $CACHE is full: free some space (a whole setup takes about 17 GB) or set ARM_SPE_CACHE to a place on another disk, then run again"
	elif grep -q 'Could not resolve\|Temporary failure resolving\|Could not connect\|Unable to connect\|Connection failed\|Network is unreachable\|Connection refused\|Failed to fetch' "$log"; then
		echo "a download failed ($(grep -m1 'Err:\|Failed to fetch\|^E: ' "$log" | cut -c1-150)): check the network, apt's proxy settings or DEBIAN_MIRROR, then run again; what was fetched is kept"
	elif grep -q 'Operation not permitted' "$log" && grep -q 'unshare' "$log"; then
		echo "this user may not create namespaces: allow it (sysctl kernel.unprivileged_userns_clone=1, or the container's or AppArmor's settings) or run as root"
	else
		grep -m1 -i '^error\|^E: \|\berror: \|^make.*\*\*\*' "$log" || tail -n 1 "$log"
	fi
}

# Runs a command with its output in a log. Shows progress, and how long it took.
watched() {
	local name=$1 log=$CACHE/log/$1.log began=$SECONDS shown=$SECONDS pid status=0
	shift
	: >"$log" || die "$name: cannot write $log: free space on that disk, then run again"
	set -m	# a process group of its own, which an interrupt can end as a whole
	(
		set +m -euo pipefail
		"$@"
	) >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	# shellcheck disable=SC2064 # the values of now
	trap "interrupted $name $pid" INT TERM HUP
	while kill -0 "$pid" 2>/dev/null; do
		if [ -t 1 ]; then
			printf '\r\033[K[%s] %ds %s' "$name" $((SECONDS - began)) \
				"$(tail -c 400 "$log" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]' | cut -c1-90)"
		elif [ $((SECONDS - shown)) -ge 20 ]; then
			shown=$SECONDS
			say "$name" "$((SECONDS - began))s $(tail -c 400 "$log" | tr '\r' '\n' | tail -n 1 | tr -cd '[:print:]' | cut -c1-90)"
		fi
		read -rt 0.5 <> <(:) || :	# a pause that an interrupt ends at once
	done
	[ -t 1 ] && printf '\r\033[K'
	wait "$pid" || status=$?
	trap - INT TERM HUP
	if [ "$status" != 0 ]; then
		remove_half_made
		die "$name failed: $(cause_of "$log") (log: $log)"
	fi
	say "$name" "done in $((SECONDS - began))s"
}

# Without the lock, it belongs to another run.
remove_half_made() { [ -z "${locked:-}" ] || rm -rf "$CACHE/tmp"; }

interrupted() {
	trap '' INT TERM HUP
	kill -TERM -- "-$2" 2>/dev/null || :
	wait "$2" 2>/dev/null || :
	remove_half_made
	printf '\nerror: interrupted in step %s: nothing half-made is left; run again to continue\n' "$1" >&2
	exit 130
}

# step NAME FUNCTION [ARGUMENT]... -- [INPUT]...: sets `result` to the directory that FUNCTION makes.
#
# The directory's name has a hash of the arguments, of the inputs and of the function's text. FUNCTION gets an
# empty directory and the arguments. The directory is renamed when the function succeeds, so that an
# incomplete result never has the name. With plan=1 nothing is built: `missing` gets a word for each absent
# result.
step() {
	local name=$1 function=$2 key temp arguments=()
	shift 2
	key=$(printf '%s\n' "$@" "$(declare -f "$function")" | sha256sum)
	result=$CACHE/$name-${key:0:16}
	while [ "$1" != -- ]; do
		arguments+=("$1")
		shift
	done
	[ ! -d "$result" ] || return 0
	if [ -n "${plan:-}" ]; then
		missing+=" $name"
		return 0
	fi
	lock
	[ ! -d "$result" ] || return 0	# made by whom we waited for
	temp=$CACHE/tmp/$name
	rm -rf "$temp"
	mkdir -p "$temp"
	say "$name" "start"
	watched "$name" "$function" "$temp" "${arguments[@]}"
	mv -T "$temp" "$result"
}
