# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Debian packages through the host's own apt (its proxies, credentials and keys), but with a separate package
# database: the host's is neither read nor changed, and no privilege is needed.

SUITE=trixie	# matrix has others

mirrors() {
	local codename candidates debian
	if [ -n "${DEBIAN_MIRROR:-}" ]; then
		printf '%s\n' "${DEBIAN_MIRROR%/}"
		return
	fi
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	candidates=$(apt-get update --print-uris 2>/dev/null |
		sed -n "s#^'\\([^']*\\)/dists/\\($codename\\|stable\\|oldstable\\)/InRelease'.*#\\1#p" | sort -u)
	# shellcheck disable=SC2016 # for apt
	# apt knows whose archive it is once the host's package lists were fetched.
	debian=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's#^Debian \(.*[^/]\)/*$#\1#p' | sort -u)
	if [ -n "$debian" ]; then
		candidates=$(grep -Fx "$debian" <<<"$candidates" || :)
	else
		candidates=$(grep '/debian/*$' <<<"$candidates" || :)
	fi
	[ -n "$candidates" ] ||
		die "no Debian mirror in this machine's apt sources: set DEBIAN_MIRROR to the URI of one"
	printf '%s\n' "$candidates"
}

keyring() {
	local file
	for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
		[ ! -e "$file" ] || { echo "$file"; return; }
	done
	die "Debian's archive keys are missing on this machine: install the Debian package 'debian-archive-keyring' and run again"
}

# Writes an apt configuration for each architecture, with the same package lists.
apt_configure() {
	local sources arch archs suites kernels
	APT=$CACHE/apt	# the lists; the archives of all suites are in one place
	case $SUITE in
	trixie) suites="$SUITE $SUITE-updates $SUITE-backports" kernels=n=$SUITE-backports ;;
	experimental) APT+=-$SUITE suites="sid $SUITE" kernels=a=$SUITE ;;
	*) APT+=-$SUITE suites=$SUITE kernels=n=$SUITE ;;
	esac
	sources=$(
		echo "Types: deb deb-src"
		printf 'URIs: %s\n' "$(mirrors | tr '\n' ' ')"
		echo "Suites: $suites"
		echo "Components: main"
		echo "Signed-By: $(keyring)"
	)
	grep -q '^URIs: .' <<<"$sources" && grep -q '^Signed-By: .' <<<"$sources" || exit 1
	mkdir -p "$APT/lists/partial" "$APT/sources.d" "$APT/resolved" "$CACHE/apt/archives/partial"
	if [ "$(cat "$APT/sources.d/debian.sources" 2>/dev/null)" != "$sources" ]; then
		printf '%s\n' "$sources" >"$APT/sources.d/debian.sources"
		rm -f "$APT/updated"
	fi
	# The kernel and its perf come from backports or experimental, everything else from the release itself.
	cat >"$APT/preferences" <<-END
		Package: linux-image-* linux-headers-* linux-modules-* linux-binary-* linux-base* linux-kbuild-* linux-source-* linux-perf
		Pin: release $kernels
		Pin-Priority: 990
	END
	: >"$APT/status"
	for arch in amd64 arm64; do
		archs='"amd64"; "arm64";'
		[ $arch = amd64 ] || archs='"arm64";'
		cat >"$APT/$arch.conf" <<-END
			#clear APT::Update::Pre-Invoke;
			#clear APT::Update::Post-Invoke;
			#clear APT::Update::Post-Invoke-Success;
			#clear DPkg::Post-Invoke;
			#clear APT::Architectures;
			APT::Architecture "$arch";
			APT::Architectures { $archs };
			APT::Default-Release "";
			APT::Install-Recommends "false";
			APT::Install-Suggests "false";
			APT::Sandbox::User "root";
			APT::Get::List-Cleanup "false";
			Acquire::Languages "none";
			Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
			Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
			Acquire::Retries "3";
			Debug::NoLocking "true";
			Dir::Etc::SourceList "/dev/null";
			Dir::Etc::SourceParts "$APT/sources.d";
			Dir::Etc::Preferences "$APT/preferences";
			Dir::Etc::PreferencesParts "/dev/null";
			Dir::State "$APT";
			Dir::State::Lists "$APT/lists";
			Dir::State::status "$APT/status";
			Dir::Cache "$APT";
			Dir::Cache::archives "$CACHE/apt/archives";
			Dir::Cache::pkgcache "";
			Dir::Cache::srcpkgcache "";
			Dir::Log "$APT/log";
		END
	done
}

apt_update() {
	lock
	say packages "reading the package lists of $SUITE"
	watched packages apt-get -c "$APT/amd64.conf" -o APT::Update::Error-Mode=any update
	rm -rf "$APT/resolved"
	mkdir -p "$APT/resolved"
	touch "$APT/updated"
}

# apt_ask ARCH COMMAND...: prints apt's answer, cached until the next update.
apt_ask() {
	local arch=$1 key file new error
	shift
	key=$(printf '%s\n' "$arch" "$@" | sha256sum)
	file=$APT/resolved/${key:0:16}
	# Two runs may ask the same at once: each writes a file of its own.
	new=$file.new.$BASHPID
	if [ ! -s "$file" ]; then
		# Asked about files to fetch, apt leaves out those that it finds: it gets an empty place to look.
		mkdir -p "$APT/nothing/partial"
		if ! error=$(cd "$APT/nothing" && "$1" -c "$APT/$arch.conf" \
			-o Dir::Cache::archives="$APT/nothing" "${@:2}" 2>&1 >"$new") || [ ! -s "$new" ]; then
			rm -f "$new"
			die "apt finds no answer to '$*' in $SUITE: ${error//$'\n'/; } (try 'make update')"
		fi
		mv "$new" "$file"
	fi
	cat "$file"
}

# Prints the file names and checksums of the packages that an installation of the named ones would fetch.
with_dependencies() { apt_ask "$1" apt-get install -qq --print-uris "${@:2}" | awk '{ print $2, $4 }'; }
alone() { apt_ask "$1" apt-get download -qq --print-uris "${@:2}" | awk '{ print $2, $4 }'; }

# fetch_with_dependencies ARCH PACKAGE...: downloads those packages to the archive directory.
fetch_with_dependencies() { apt-get -c "$APT/$1.conf" -y --download-only -q install "${@:2}"; }
fetch_alone() { (cd "$CACHE/apt/archives" && apt-get -c "$APT/$1.conf" -q download "${@:2}"); }

# unpack DIRECTORY: extracts the packages listed on the standard input. No maintainer script runs.
unpack() {
	local directory=$1 deb
	mkdir -p "$directory"/usr/{bin,sbin,lib,lib64}
	ln -sfn usr/bin "$directory/bin"
	ln -sfn usr/sbin "$directory/sbin"
	ln -sfn usr/lib "$directory/lib"
	ln -sfn usr/lib64 "$directory/lib64"
	while read -r deb _; do
		echo "unpacking $deb"
		dpkg-deb -x "$CACHE/apt/archives/$deb" "$directory"
	done
}
