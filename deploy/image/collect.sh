#!/bin/sh
# collect.sh ROOT: fills the root directory of the image, except for the program itself. Runs in Debian's node image.
# node gets its own dynamic loader and libraries, so that it starts in any image, with any C library. It needs no environment
# variables, which LangFlow would inherit.
set -eu
root=$1
home=/usr/lib/langflow-leader
node=$(command -v node)
mkdir -p "$root$home/lib" "$root/etc" "$root/var/lib/dpkg/status.d"

libraries=$(ldd "$node" | grep -o '/[^ ]*')
for library in $libraries; do
  install -m 755 "$library" "$root$home/lib/"
done
install -m 755 /usr/bin/tini-static "$root$home/tini"
install -m 755 "$node" "$root$home/node"
# strip runs first, because it cannot process a patched file.
strip "$root$home/node"
# The kernel starts the loader by an absolute path. The dots reserve room for the path of another directory, which `install`
# writes there. RPATH instead of RUNPATH, because it also applies to the libraries of libraries, and precedes LD_LIBRARY_PATH.
# The rest of the file moves by 64 KiB. If it moved by one page, it would not be aligned with the blocks in which Linux maps a
# file, and each process would take 4 MB more.
loader=$(basename "$(patchelf --print-interpreter "$node")")
patchelf --page-size 65536 --force-rpath --set-rpath '$ORIGIN/lib' \
  --set-interpreter "$home/$(printf './%.0s' $(seq 120))lib/$loader" "$root$home/node"

# LangFlow's container may start node from here (an image volume). If the user can execute the loader but not read it, the kernel
# does not let other processes of that user trace the started program or read its memory. `install` gives this mode to its copy
# of node, and copies the readable loader.
install -m 644 "$root$home/lib/$loader" "$root$home/loader"
chmod 111 "$root$home/lib/$loader"

# The agent creates the lock of its launcher with mkfifo, which Node lacks. LangFlow's container does not receive it.
tools=/usr/libexec/langflow-leader
mkfifo=$(command -v mkfifo)
install -D -m 755 "$mkfifo" "$root$tools/mkfifo"
for library in $(ldd "$mkfifo" | grep -o '/[^ ]*'); do
  [ -e "$root$home/lib/${library##*/}" ] || {
    install -m 644 "$library" "$root$tools/"
    libraries="$libraries $library"
  }
done
patchelf --force-rpath --set-rpath "$tools:$home/lib" --set-interpreter "$home/lib/$loader" "$root$tools/mkfifo"

# The list of the Debian packages, in the place where image scanners look for it, and their licences.
packages=$(for library in $libraries; do dpkg-query -S "*/${library##*/}"; done | cut -d: -f1 | sort -u)
for package in $packages coreutils tini; do
  dpkg-query -s "$package" > "$root/var/lib/dpkg/status.d/$package"
  licence=/usr/share/doc/$package/copyright
  [ ! -e "$licence" ] || install -D -m 644 "$licence" "$root$licence"
done
for licence in /usr/share/common-licenses/LGPL-2.1 /usr/share/common-licenses/GPL-3; do
  [ ! -e "$licence" ] || install -D -m 644 "$licence" "$root$licence"
done
[ ! -e /usr/local/LICENSE ] || install -D -m 644 /usr/local/LICENSE "$root/usr/share/doc/node/copyright"
# Scanners read the distribution from these files. Trivy needs the second one for Debian.
install -m 644 /etc/os-release /etc/debian_version "$root/etc/"

printf '%s\n' 'root:x:0:0:root:/:/none' 'langflow-leader:x:1000:1000:langflow-leader:/:/none' > "$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'langflow-leader:x:1000:' > "$root/etc/group"
