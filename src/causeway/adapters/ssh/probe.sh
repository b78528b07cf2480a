# Looks at a host and changes nothing. POSIX sh; read from standard input by `sh -s`, with the
# arguments: control plane's addresses (commas between), package index, another Python to look at.
# Each finding is one line, `causeway:<name><tab><value>`: whatever else a host prints is not ours.
url=$1 index=$2 wished=$3
say() { printf 'causeway:%s\t%s\n' "$1" "$2"; }
have() { command -v "$1" >/dev/null 2>&1; }

say system "$(uname -s)"
say architecture "$(uname -m)"
say hostname "$(uname -n)"
say user "$(id -un 2>/dev/null)"
say uid "$(id -u)"
say home "$HOME"
say clock_s "$(date +%s)"
libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc=$(ldd --version 2>&1 | head -n 1)
say libc "$libc"
if [ -r /etc/os-release ]; then say os "$(. /etc/os-release; printf %s "$PRETTY_NAME")"; fi
say cores "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
if [ -r /proc/meminfo ]; then
  say memory_kib "$(while read -r name value _; do
    [ "$name" = MemTotal: ] && echo "$value" && break; done </proc/meminfo)"
fi
say disk_kib "$(df -Pk "$HOME" 2>/dev/null | { read -r _; read -r _ _ _ free _; echo "$free"; })"
if [ -d "$HOME" ] && [ -w "$HOME" ]; then say writable yes; fi
if have nvidia-smi; then say gpus "$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')"; fi
if have crontab; then say crontab yes; fi
if have systemctl && systemctl --user show-environment >/dev/null 2>&1; then say systemd yes; fi
if have loginctl; then say linger "$(loginctl show-user "$(id -un)" -p Linger --value 2>/dev/null)"; fi

# Every Python: version, whether it can make virtual environments, and where it is.
any=
seen=
look() {
  found=$("$1" -c 'import os, sys
try:
    import ctypes, ssl, venv
    whole = "whole"
except ImportError as error:
    whole = "lacks-" + str(error.name)
print("%d.%d.%d %s %s" % (tuple(sys.version_info[:3]) + (whole, os.path.realpath(sys.executable))))
' 2>/dev/null) || return 0
  [ -n "$found" ] || return 0
  [ -n "$any" ] || any=$1
  case "$seen" in *"|$found|"*) return 0 ;; esac
  seen="$seen|$found|"
  say python "$found"
}
for name in "$wished" python3 python3.11 python3.12 python3.13 python3.14 python3.15; do
  [ -n "$name" ] && have "$name" && look "$name"
done
for path in "$HOME"/.local/bin/python3.* "$HOME"/.local/share/uv/python/*/bin/python3 \
  "$HOME"/.pyenv/versions/*/bin/python3 /opt/python*/bin/python3 /usr/local/bin/python3; do
  [ -x "$path" ] && look "$path"
done

# `reach` asks one address: "ok <status> <date>" or "no <why>". Certificates are the agent's to
# check; here only the way there is asked for.
reach() {
  if [ -n "$any" ]; then
    "$any" -c 'import ssl, sys
from urllib import error, request
tls = ssl.create_default_context()
tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
hands = [request.HTTPSHandler(context=tls)]
if sys.argv[2] == "straight":
    hands.append(request.ProxyHandler({}))
try:
    answer = request.build_opener(*hands).open(sys.argv[1], timeout=8)
except error.HTTPError as found:
    answer = found
except Exception as error:
    sys.exit(print("no", getattr(error, "reason", error)))
print("ok", answer.getcode(), answer.headers.get("Date", ""))
' "$1" "$2" 2>&1 | head -n 1
  elif have curl; then
    if [ "$2" = straight ]; then proxy='--noproxy *'; else proxy=; fi
    # shellcheck disable=SC2086
    curl -sS -k $proxy -m 8 -o /dev/null -D - "$1" 2>&1 | tr -d '\r' | {
      read -r first status _
      case "$first" in HTTP/*) ;; *) echo "no $first $status"; exit ;; esac
      date=
      while read -r name value; do
        case "$name" in [Dd]ate:) date=$value ;; esac
      done
      echo "ok $status $date"
    }
  else
    echo unknown
  fi
}
set -f
IFS=,
for one in $url; do
  unset IFS
  answer=$(reach "${one%/}/healthz" straight)
  say reach "${one%/} $answer"
  case "$answer" in ok*) break ;; esac
done
unset IFS
if [ -n "$index" ]; then say index "$(reach "$index" proxies)"; fi
say end yes
