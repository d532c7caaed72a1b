# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The build root: a Debian 13 tree with every tool that the project uses, entered by chroot in a
# mount namespace of its own. An ordinary user gets a user namespace as well.

# A shell to work in, and what a kernel's tree needs besides compilers.
TREE_PACKAGES=(
	base-files bash ca-certificates coreutils dash diffutils findutils gawk grep gzip hostname libc-bin
	git mount patch perl procps sed tar util-linux xz-utils zstd bzip2 cpio socat
	make bc bison flex m4 kmod pahole libssl-dev libelf-dev libdw-dev zlib1g-dev
)

ROOT_PACKAGES=(
	"${TREE_PACKAGES[@]}"
	# the compilers
	gcc gcc-14 libc6-dev gcc-aarch64-linux-gnu gcc-14-aarch64-linux-gnu libc6-dev-arm64-cross
	rustc rust-src rustfmt rust-clippy bindgen clang-19 lld-19 llvm-19
	# QEMU
	meson ninja-build pkgconf python3-venv python3-pycotap libglib2.0-dev libpixman-1-dev libfdt-dev
	# the tests
	cargo librust-proptest-dev
	python3 python3-jinja2 python3-pytest python3-pytest-timeout python3-pytest-xdist python3-pygal shellcheck pyflakes3
	# the package
	debhelper dh-dkms dkms dpkg-dev lintian mandoc man-db rpm rpmlint
)

build_root() {
	local root=$1/root
	fetch_with_dependencies amd64 "${ROOT_PACKAGES[@]}"
	with_dependencies amd64 "${ROOT_PACKAGES[@]}" | unpack "$root"
	# What maintainer scripts would have done, as far as it is needed.
	ln -s gawk "$root/usr/bin/awk"
	ln -s gcc "$root/usr/bin/cc"
	[ -e "$root/usr/bin/sh" ] || ln -s dash "$root/usr/bin/sh"
	mkdir -p "$root"/{dev,proc,sys,tmp,run,root} "$root/etc"
	echo 'root:x:0:0:root:/tmp:/bin/bash' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	mkdir -p "$root/etc/ssl/certs"
	cat "$root"/usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
	enter_root "$root" /usr/sbin/ldconfig
}

# enter_root ROOT COMMAND...: runs COMMAND in the build root, with this checkout and the cache at their own
# paths. Only the variables named here are passed on.
enter_root() {
	local user=() variable pass=()
	[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
	for variable in TERM T TIER WORKERS DRIVER JOBS KEEP V; do
		[ -z "${!variable+set}" ] || pass+=("$variable=${!variable}")
	done
	for variable in "${!ARM_SPE_@}"; do
		pass+=("$variable=${!variable}")
	done
	# shellcheck disable=SC2016 # for the inner shell
	unshare "${user[@]}" --mount --propagation private bash -euc '
		root=$1 top=$2 cache=$3 here=$4
		shift 4
		for dir in proc sys dev; do mount --rbind "/$dir" "$root/$dir"; done
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		for dir in "$cache" "$top"; do
			mkdir -p "$root$dir"
			mount --rbind "$dir" "$root$dir"
		done
		exec chroot "$root" /usr/bin/env -i -C "$here" "$@"
	' enter "$1" "$TOP" "$CACHE" "${WORKDIR:-$TOP}" \
		PATH=/usr/lib/llvm-19/bin:/usr/sbin:/usr/bin HOME=/tmp LANG=C.UTF-8 \
		ARM_SPE_CACHE="$CACHE" "${pass[@]}" "${@:2}"
}

# Prints the versions of matching packages in the build root, for the keys of builds with them.
root_versions() { with_dependencies amd64 "${ROOT_PACKAGES[@]}" | grep -E "^($1)_"; }

want_root() {
	step root build_root -- "$(with_dependencies amd64 "${ROOT_PACKAGES[@]}")" "$(declare -f unpack)"
	ROOT=$result/root
}
