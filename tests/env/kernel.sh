# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The newest arm64 kernel of the backports suite: its image and modules from Debian, and a source tree of the
# same version, prepared for building modules, including Rust metadata. The same for its PREEMPT_RT flavour.

# kernel_resolve FLAVOUR
kernel_resolve() {
	kernel_release=$(apt_ask arm64 apt-cache depends "linux-headers-$1" |
		sed -n 's/^ *Depends: linux-headers-//p' | head -n 1)
	[ -n "$kernel_release" ] || die "apt finds no $1 kernel headers in $SUITE-backports (try 'make update')"
	kernel_version=${kernel_release%%[+-]*}
	kernel_packages=("linux-binary-$kernel_release" "linux-modules-$kernel_release"
		"linux-headers-$kernel_release" "linux-source-${kernel_version%.*}")
}

# The header packages have no Rust metadata (rust/*.rmeta, the generated bindings). It is made from the same source
# with the same configuration and compilers. It is the same if the exported Rust symbols are, whose names have a hash
# of their input.
build_kernel() {
	local out=$1 release=$2 packages=("${@:3}")
	fetch_alone arm64 "${packages[@]}"
	alone arm64 "${packages[@]}" | unpack "$out/packages"
	echo "unpacking the kernel source"
	WORKDIR=$out enter_root "$ROOT" bash -c 'tar --no-same-owner -xf packages/usr/src/linux-source-*.tar.xz'
	mv "$out"/linux-source-* "$out/tree"
	WORKDIR=$out enter_root "$ROOT" "$TOP/tools/prepare-tree" tree "packages/usr/src/linux-headers-$release"
	mv "$out/packages/usr/lib/modules/$release" "$out/stock"
	rm -rf "$out/packages"
	echo "$release" >"$out/release"
}

# want_flavour STEP FLAVOUR
want_flavour() {
	want_root
	kernel_resolve "$2"
	# The release and the packages come first: they are build_kernel's arguments.
	step "$1" build_kernel "$kernel_release" "${kernel_packages[@]}" \
		-- "$(alone arm64 "${kernel_packages[@]}")" "$(files_hash tools/prepare-tree tools/compare-symbols)" \
		"$(root_versions '(rustc|rust-src|bindgen|libclang1-19|gcc-14-aarch64-linux-gnu|binutils-aarch64-linux-gnu|pahole)')"
}

want_kernel() {
	want_flavour kernel arm64
	export ARM_SPE_KERNEL=$result/tree ARM_SPE_STOCK=$result/stock ARM_SPE_RELEASE=$kernel_release
}

want_kernel_rt() {
	want_flavour kernel-rt rt-arm64
	export ARM_SPE_KERNEL_RT=$result
}
