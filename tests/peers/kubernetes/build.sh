#!/usr/bin/env bash
# Builds kube-apiserver, kube-scheduler and kube-controller-manager 1.20.2 from Debian's own source
# package, and prints the folder that holds them. Debian ships no binaries of them. Takes some seven
# minutes of CPU once; what was built by this very script is used again.
#
#   bash tests/peers/kubernetes/build.sh            # into ~/.cache/causeway
#   CAUSEWAY_CACHE=/elsewhere bash .../build.sh
#
# Needs (Debian 12): golang-1.19-go dpkg-dev ca-certificates. The source comes from wherever this
# machine's own package lists point.
set -euo pipefail
digest="$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)"
cache="${CAUSEWAY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway}"
place="$cache/kubernetes-1.20.2-$digest"
programs=(kube-apiserver kube-scheduler kube-controller-manager)

if [ -x "$place/kube-controller-manager" ]; then
  echo "$place"
  exit 0
fi
mkdir -p "$cache"
# One at a time: who comes second finds it done.
exec 9>"$cache/kubernetes.lock"
flock 9
if [ -x "$place/kube-controller-manager" ]; then
  echo "$place"
  exit 0
fi
go=/usr/lib/go-1.19/bin/go
for needed in "$go:golang-1.19-go" "/usr/bin/dpkg-source:dpkg-dev"; do
  [ -x "${needed%%:*}" ] || { echo "${needed%%:*} is not installed: apt-get install ${needed##*:}" >&2; exit 2; }
done

work="$(mktemp -d "$cache/building.XXXXXX")"
trap 'rm -rf "$work"' EXIT

# The machine's own sources of packages, asked for sources.
mkdir -p "$work/parts" "$work/lists/partial" "$work/archives/partial"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
  [ -e "$list" ] && sed -n 's/^deb\(-src\)\{0,1\}[[:space:]]/deb-src /p' "$list" | sort -u >"$work/parts/$(basename "$list" .list).list"
done
for list in /etc/apt/sources.list.d/*.sources; do
  [ -e "$list" ] && sed 's/^Types:.*/Types: deb-src/' "$list" >"$work/parts/$(basename "$list")"
done
apt=(apt-get -qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts"
  -o Dir::State::lists="$work/lists" -o Dir::Cache::archives="$work/archives"
  -o Dir::Cache::srcpkgcache= -o Dir::Cache::pkgcache=
  # apt's own user cannot write below somebody's home; signatures are checked all the same.
  -o APT::Sandbox::User=root)
{
  cd "$work"
  "${apt[@]}" update
  "${apt[@]}" source --download-only kubernetes
  dpkg-source -x --no-check ./kubernetes_*really1.20.2*.dsc src >/dev/null

  # The tree brings all that it needs, as GOPATH had it before modules.
  export GOPATH="$work/gopath" GO111MODULE=off GOCACHE="$work/gocache" CGO_ENABLED=0 GOFLAGS=
  mkdir -p "$GOPATH/src/k8s.io"
  mv src "$GOPATH/src/k8s.io/kubernetes"
  cd "$GOPATH/src/k8s.io/kubernetes"

  # The one generated file that the source package lacks.
  tagged="$(grep -rl --include='*.go' '+k8s:openapi-gen=true' staging/src pkg vendor | grep -v zz_generated \
    | xargs -n1 dirname | sed -e 's#^staging/src/##' -e 's#^vendor/##' -e 's#^pkg/#k8s.io/kubernetes/pkg/#' \
    | sort -u | paste -sd,)"
  meta=k8s.io/apimachinery/pkg
  "$go" run ./vendor/k8s.io/kube-openapi/cmd/openapi-gen --logtostderr \
    -i "$tagged,$meta/apis/meta/v1,$meta/runtime,$meta/version,$meta/util/intstr,$meta/api/resource" \
    -p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
    -h hack/boilerplate/boilerplate.generatego.txt -r "$work/openapi.report" --output-base "$GOPATH/src"

  # An archive of the source knows no version; the package's name does.
  sed -i 's/^\(\tgitVersion .*= \)".*"/\1"v1.20.2"/' staging/src/k8s.io/{component-base,client-go/pkg}/version/base.go
  "$go" build -o "$work/bin/" -ldflags '-s -w' "${programs[@]/#/./cmd/}"
} >&2
mv "$work/bin" "$place"
echo "$place"
