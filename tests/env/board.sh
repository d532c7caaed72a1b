# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What a guest needs beside the initramfs to play a board (tests/board): Python and pytest, as a tar file.

BOARD_PACKAGES=(python3 python3-pytest python3-pytest-timeout)

# board_packages: those that the initramfs does not have.
board_packages() { with_dependencies arm64 "${BOARD_PACKAGES[@]}" | grep -vxFf <(with_dependencies arm64 "${GUEST_PACKAGES[@]}" | grep -v python); }

build_board() {
	local root=$1/root
	fetch_with_dependencies arm64 "${BOARD_PACKAGES[@]}"
	board_packages | unpack "$root"
	rm -rf "$root"/usr/share/{doc,locale,man} "$root"/{bin,sbin,lib,lib64}
	# An emulated CPU takes a minute to compile them, each time.
	WORKDIR=$root enter_root "$ROOT" python3 -m compileall -q -p / --invalidation-mode unchecked-hash usr/lib
	tar -C "$root" -cf "$1/board.tar" .
	rm -rf "$root"
}

want_board() {
	want_root
	step board build_board -- "$(board_packages)" "$(declare -f unpack)"
	export ARM_SPE_BOARD=$result/board.tar
}
