# Unpacks Debian packages that builds use into a folder, and does nothing else with them: no script of theirs runs.
# Run by busybox's shell, in a Nix build that has nothing else.
#
# From the environment:
#   out      folder to make
#   busybox  folder with a static busybox for the machine that builds
#   debs     the packages' paths, blanks between them
set -eu

# busybox's own dpkg-deb needs no other program.
for folder in bin sbin lib; do
  "$busybox/busybox" mkdir -p "$out/usr/$folder"
  # The merged /usr: a package up to bookworm may hold /lib/...
  "$busybox/busybox" ln -s "usr/$folder" "$out/$folder"
done
for deb in $debs; do
  "$busybox/busybox" dpkg-deb -x "$deb" "$out"
done
