# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Kernels that are built here, with Clang, from the source package of the stock kernel, and with nothing that the tests do
# not need (guest.config). Each has its modules, the C driver among them, and the tree for building other modules.
#
# The debug kernel has KUnit, KASAN, lockdep, kmemleak and fault injection (debug.config, kasan.config), another one
# KCSAN in the place of KASAN. The last one has what other distributions choose (distribution.config).

# build_kernel_here DIRECTORY SOURCE FRAGMENT...
build_kernel_here() {
	local out=$1 source=$2
	fetch_alone arm64 "$source"
	alone arm64 "$source" | unpack "$out/packages"
	echo "unpacking the kernel source"
	WORKDIR=$out enter_root "$ROOT" bash -c 'tar --no-same-owner -xf packages/usr/src/linux-source-*.tar.xz'
	mv "$out"/linux-source-* "$out/source"
	rm -rf "$out/packages"
	WORKDIR=$out enter_root "$ROOT" "$TOP/tests/env/build-kernel" "${@:3}"
	rm -rf "$out/source"
}

# The same with the files where those of a distribution's kernel are.
build_kernel_distribution() {
	build_kernel_here "$@"
	mkdir "$1/stock"
	mv "$1/Image" "$1/stock/vmlinuz"
	mv "$1/modules" "$1/stock/"
	cp "$1/tree/include/config/kernel.release" "$1/release"
}

# want_built STEP FUNCTION FRAGMENT...
want_built() {
	want_root
	kernel_resolve arm64
	local source=${kernel_packages[-1]} fragments=("${@:3}")
	step "$1" "$2" "$source" "${fragments[@]}" \
		-- "$(alone arm64 "$source")" "$(declare -f build_kernel_here)" \
		"$(files_hash tests/env/build-kernel tests/env/guest.config "${fragments[@]/#/tests/env/}")" \
		"$(root_versions '(rustc|rust-src|bindgen|libclang1-19|clang-19|lld-19|llvm-19)')"
}

want_kernel_debug() {
	want_built kernel-debug build_kernel_here debug.config kasan.config
	export ARM_SPE_KERNEL_DEBUG=$result
}

want_kernel_kcsan() {
	want_built kernel-kcsan build_kernel_here debug.config kcsan.config
	export ARM_SPE_KERNEL_KCSAN=$result
}

want_kernel_distribution() {
	want_built kernel-distribution build_kernel_distribution distribution.config
	export ARM_SPE_KERNEL_DISTRIBUTION=$result
}
