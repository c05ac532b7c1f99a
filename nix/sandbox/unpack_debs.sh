# Makes a root file system of Debian packages: unpacks them, and makes what their maintainer scripts would have made.
# Run by busybox's shell, in a Nix build that has nothing else.
#
# From the environment:
#   out            folder to make
#   busybox        folder with a static busybox for the machine that builds
#   debsPath       file with the packages' paths, blanks between them
#   architecture   the root's: "x86_64" or "aarch64"
#   pythonVersion  "3.11"
#
# Nothing here may depend on the machine: a root for aarch64 is made on x86_64 too, so no program of the root is
# run. Owners and modes are not set: the Nix store would not keep them, base_layer.py knows those that matter.
set -eu -o pipefail

# The build's own programs. Its PATH is empty, and the root's are not to be run.
"$busybox/busybox" mkdir bin
"$busybox/busybox" --install -s bin
PATH=$PWD/bin
export PATH LC_ALL=C
umask 022

# --- The merged /usr, before anything is unpacked. -----------------------------------------------------------------
# Packages up to bookworm hold paths such as ./lib/x86_64-linux-gnu/libc.so.6. tar follows a link that is there for a
# directory, so those land in /usr/lib.
mkdir -p "$out/usr"
folders="bin sbin lib"
[ "$architecture" = x86_64 ] && folders="$folders lib64"
for folder in $folders; do
  mkdir "$out/usr/$folder"
  ln -s "usr/$folder" "$out/$folder"
done

# --- The packages, in the order given. -----------------------------------------------------------------------------
status=$out/var/lib/dpkg/status.d
mkdir -p "$status" scripts

# Writes a member of a package, uncompressed. busybox knows no zstd; Debian, unlike Ubuntu, compresses with xz.
member() {
  name=$(ar t "$1" | grep "^$2\.tar")
  case $name in
  *.tar.xz) ar p "$1" "$name" | xz -dc ;;
  *.tar.gz) ar p "$1" "$name" | gzip -dc ;;
  *.tar) ar p "$1" "$name" ;;
  *)
    echo "$1: cannot unpack ${name:-a package without $2.tar}" >&2
    exit 1
    ;;
  esac
}

for deb in $(cat "$debsPath"); do
  # --no-same-permissions: a build may not set setuid bits, and in the store they would be lost.
  member "$deb" data | tar -x -o --no-same-permissions -C "$out"
  mkdir control
  member "$deb" control | tar -x -o --no-same-permissions -C control
  package=$(sed -n 's/^Package: *//p' control/control)
  # How scanners learn what is installed: one file a package, as distroless images have it.
  cp control/control "$status/$package"
  if [ -e control/postinst ]; then cp control/postinst "scripts/$package"; fi
  rm -r control
done

# --- What no program reads. ----------------------------------------------------------------------------------------
# Documentation and translations are a fifth of the files. Copyright files stay: the licences ask for that.
cd "$out/usr/share"
find doc ! -type d ! -type l ! -name copyright -exec rm -f {} +
rm -rf man info locale lintian bug doc-base menu
find doc -depth -type d -exec rmdir {} + 2>/dev/null || true
mkdir -p doc
cd "$OLDPWD"

# --- What maintainer scripts would make. ---------------------------------------------------------------------------
# Alternatives: `update-alternatives --install LINK NAME PATH PRIORITY [--slave LINK NAME PATH]...`, which packages
# write with plain words. libblas.so.3 and liblapack.so.3, which ffmpeg needs, exist only so. The highest priority
# wins. Caches that programs would write (icons, fonts, gdk-pixbuf's loaders, Java's CAs) are not made.
cat scripts/* 2>/dev/null | awk '
  { line = line $0 }
  sub(/\\$/, " ", line) { next }
  {
    count = split(line, word, " ")
    line = ""
    priority = ""
    for (i = 1; i <= count; i++) {
      if (word[i] == "--install" && i + 4 <= count) {
        priority = word[i + 4]
        offer(word[i + 1], word[i + 3], priority)
        i += 4
      } else if (word[i] == "--slave" && priority != "" && i + 3 <= count) {
        offer(word[i + 1], word[i + 3], priority)
        i += 3
      }
    }
  }
  function offer(link, path, priority) {
    if (link path priority !~ /^[-+.0-9A-Za-z_\/:]+$/ || link !~ /^\// || path !~ /^\//) return
    if (!(link in best) || priority + 0 > best[link] + 0) { best[link] = priority; target[link] = path }
  }
  END { for (link in best) print link, target[link] }
' | sort | while read -r link path; do
  if [ ! -e "$out$path" ] || [ -e "$out$link" ] || [ -L "$out$link" ]; then continue; fi
  mkdir -p "$out${link%/*}"
  # Relative, so that it leads somewhere outside a chroot too.
  ln -s "$(echo "${link%/*}" | sed 's#/[^/]*#../#g')${path#/}" "$out$link"
done

# One file with all CAs, and where OpenSSL and everybody else look for it. Links named by hash are not needed
# beside it.
mkdir -p "$out/etc/ssl/certs" "$out/usr/lib/ssl"
find "$out/usr/share/ca-certificates" -name '*.crt' | sort | xargs awk 1 > "$out/etc/ssl/certs/ca-certificates.crt"
[ -e "$out/usr/lib/ssl/cert.pem" ] || ln -s ../../../etc/ssl/certs/ca-certificates.crt "$out/usr/lib/ssl/cert.pem"
if [ ! -e "$out/usr/lib/ssl/certs" ] && [ ! -L "$out/usr/lib/ssl/certs" ]; then
  ln -s ../../../etc/ssl/certs "$out/usr/lib/ssl/certs"
fi

# Accounts. The app's has the first ordinary number, which host folders are mounted with most often.
cat > "$out/etc/passwd" <<'FILE'
root:x:0:0:root:/root:/bin/sh
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
FILE
cat > "$out/etc/group" <<'FILE'
root:x:0:
tty:x:5:
video:x:44:
render:x:105:
app:x:1000:
nogroup:x:65534:
FILE
# Names are looked up in /etc/hosts, which the container runtime writes, then in the DNS.
cat > "$out/etc/nsswitch.conf" <<'FILE'
passwd: files
group: files
shadow: files
hosts: files dns
networks: files
protocols: files
services: files
ethers: files
rpc: files
FILE
echo Etc/UTC > "$out/etc/timezone"
[ -e "$out/etc/localtime" ] || ln -s ../usr/share/zoneinfo/Etc/UTC "$out/etc/localtime"
[ -L "$out/etc/mtab" ] || ln -s ../proc/self/mounts "$out/etc/mtab"

# Folders that base-files' script makes, and that are links since /run exists.
mkdir -p "$out/usr/local/bin" "$out/usr/local/lib" "$out/usr/local/share" "$out/usr/local/sbin"
mkdir -p "$out/tmp" "$out/var/tmp" "$out/run/lock" "$out/proc" "$out/sys" "$out/dev" "$out/root"
for name in run lock; do
  # A package that puts files there keeps its directory.
  if rmdir "$out/var/$name" 2>/dev/null || [ ! -e "$out/var/$name" ]; then
    case $name in run) ln -s ../run "$out/var/run" ;; lock) ln -s ../run/lock "$out/var/lock" ;; esac
  fi
done

# Programs that Debian has in packages this root lacks, by busybox. The list is fixed, since what a busybox offers
# differs between architectures. What a package brings is left alone.
for name in \
  [ awk basename bunzip2 bzcat bzip2 cat chgrp chmod chown clear cmp cp cut date dd df diff dirname dmesg du echo \
  egrep env expand expr factor false fgrep find fold free getopt grep groups gunzip gzip head hexdump hostname id \
  install ionice ip kill killall less link ln logname ls md5sum mkdir mkfifo mktemp more mv nc netstat nice nl \
  nohup nologin nproc nslookup od paste patch pidof ping printenv printf ps pwd readlink realpath renice reset rm \
  rmdir sed seq setsid sha1sum sha256sum sha512sum shred shuf sleep sort split stat strings stty sync tac tail tar \
  taskset tee test time timeout top touch tr true truncate tty uname uniq unlink unxz unzip uptime vi watch wc \
  wget which who whoami xargs xxd xz xzcat yes zcat; do
  if [ -e "$out/usr/bin/busybox" ] && [ ! -e "$out/usr/bin/$name" ] && [ ! -L "$out/usr/bin/$name" ]; then
    ln -s busybox "$out/usr/bin/$name"
  fi
done
[ -e "$out/usr/sbin/nologin" ] || ln -s ../bin/busybox "$out/usr/sbin/nologin"
[ -e "$out/usr/bin/sh" ] || ln -s dash "$out/usr/bin/sh"
[ -e "$out/usr/bin/python3" ] || ln -s "python$pythonVersion" "$out/usr/bin/python3"

# --- What is this project's own. -----------------------------------------------------------------------------------
# The app's folder and home, and the virtual environment that all wheels are in. Its version is Python's own, without
# Debian's additions: 3.11.2 of 3.11.2-6+deb12u9.
venv=$out/opt/venv
mkdir -p "$out/app" "$out/home/app" "$venv/bin" "$venv/lib/python$pythonVersion/site-packages"
ln -s lib "$venv/lib64"
ln -s "/usr/bin/python$pythonVersion" "$venv/bin/python3"
ln -s python3 "$venv/bin/python"
ln -s python3 "$venv/bin/python$pythonVersion"
version=$(sed -n 's/^Version: *\([0-9.]*\).*/\1/p' "$status/python$pythonVersion")
cat > "$venv/pyvenv.cfg" <<FILE
home = /usr/bin
include-system-site-packages = false
version = $version
FILE
