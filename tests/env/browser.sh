# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A browser without a screen, and what reads its PDF files, for the test of spe-report. It is beside the build root, with
# the libraries that the root does not have: they are 390 MB, which no other test needs.

BROWSER_PACKAGES=(chromium-headless-shell fonts-dejavu-core poppler-utils)

browser_packages() { with_dependencies amd64 "${BROWSER_PACKAGES[@]}" | grep -vxFf <(with_dependencies amd64 "${ROOT_PACKAGES[@]}"); }

build_browser() {
	local out=$1 name
	fetch_with_dependencies amd64 "${BROWSER_PACKAGES[@]}"
	browser_packages | unpack "$out"
	rm -rf "${out:?}"/usr/share/{doc,locale,man,icons,mime}
	# shellcheck disable=SC2016 # for the script
	for name in lib/chromium/chromium-headless-shell bin/pdftotext; do
		printf '#!/bin/sh\n%s\n%s\n' 'here=${0%/*}' \
			'exec env LD_LIBRARY_PATH="$here/usr/lib/x86_64-linux-gnu:$here/usr/lib/x86_64-linux-gnu/pulseaudio" FONTCONFIG_FILE="$here/fonts.conf" "$here/usr/'"$name"'" "$@"' >"$out/${name##*/}"
		chmod +x "$out/${name##*/}"
	done
	echo '<fontconfig><dir prefix="relative">usr/share/fonts</dir><cachedir>/tmp/fontconfig</cachedir></fontconfig>' >"$out/fonts.conf"
	enter_root "$ROOT" "$out/pdftotext" -v
	enter_root "$ROOT" "$out/chromium-headless-shell" --version
}

want_browser() {
	want_root
	step browser build_browser -- "$(browser_packages)" "$(declare -f unpack)"
	export ARM_SPE_BROWSER=$result
}
