# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A debug kernel from the source package of the stock kernel: KUnit, KASAN, lockdep, kmemleak and fault
# injection, and nothing that the tests do not need (debug.config). Kept are its image, the C driver as
# a module, and what building other modules takes. And another one with KCSAN in the place of KASAN.

build_kernel_debug() {
	local out=$1 source=$2
	fetch_alone arm64 "$source"
	alone arm64 "$source" | unpack "$out/packages"
	echo "unpacking the kernel source"
	WORKDIR=$out enter_root "$ROOT" bash -c 'tar --no-same-owner -xf packages/usr/src/linux-source-*.tar.xz'
	mv "$out"/linux-source-* "$out/source"
	rm -rf "$out/packages"
	WORKDIR=$out enter_root "$ROOT" "$TOP/tests/env/build-debug-kernel"
	rm -rf "$out/source"
}

want_kernel_debug() {
	want_root
	kernel_resolve arm64
	local source=${kernel_packages[-1]}
	step kernel-debug build_kernel_debug "$source" \
		-- "$(alone arm64 "$source")" "$(files_hash tests/env/{build-debug-kernel,debug.config})" \
		"$(root_versions '(rustc|rust-src|bindgen|libclang1-19|clang-19|lld-19|llvm-19)')"
	export ARM_SPE_DEBUG_KERNEL=$result
}

# build-debug-kernel takes the debug.config that is beside it.
build_kernel_kcsan() {
	local out=$1 source=$2 env=$1/tests/env
	mkdir -p "$env"
	cp "$TOP/tests/env/build-debug-kernel" "$env/"
	{
		grep -v 'KASAN\|^CONFIG_LOCALVERSION=' "$TOP/tests/env/debug.config"
		cat "$TOP/tests/env/kcsan.config"
	} >"$env/debug.config"
	TOP=$out build_kernel_debug "$out" "$source"
	rm -rf "$out/tests"
}

want_kernel_kcsan() {
	want_root
	kernel_resolve arm64
	local source=${kernel_packages[-1]}
	step kernel-kcsan build_kernel_kcsan "$source" \
		-- "$(alone arm64 "$source")" "$(declare -f build_kernel_debug)" \
		"$(files_hash tests/env/{build-debug-kernel,debug.config,kcsan.config})" \
		"$(root_versions '(rustc|rust-src|bindgen|libclang1-19|clang-19|lld-19|llvm-19)')"
	export ARM_SPE_KCSAN_KERNEL=$result
}
