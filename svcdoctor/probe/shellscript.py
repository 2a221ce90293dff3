"""The scripts that try aims where a command can be run: for sh with one of the usual programs, and for Python.

Each try writes one line, short enough to reach a pipe whole. What it holds is interpreted in ``shellanswers``, so
the scripts only move bytes. Everything is bounded: each try in time and in bytes, the tries at once in number; and
when nobody reads the lines any more, the next one ends the worker that writes it.

The sh is that of POSIX, as dash and busybox have it.
"""

from __future__ import annotations

KEPT = 1200
"""Bytes of an answer that a line holds; in od's digits it is shorter than the 4096 bytes that pipes keep together."""

FIND = """for p in python3 curl bash; do command -v $p >/dev/null 2>&1 && echo $p; done
command -v od >/dev/null 2>&1 && command -v head >/dev/null 2>&1 && echo od
timeout --version 2>/dev/null | grep -q GNU && echo timeout
if wget --version 2>/dev/null | grep -q GNU; then echo wget-gnu
elif command -v wget >/dev/null 2>&1; then echo wget; fi
for o in z e; do nc -h 2>&1 | grep -q "^[[:space:]]*-$o" && echo nc-$o; done
true
"""
"""Says which of the programs there are, a name on a line."""

# Seconds, count, workers, the name that is used, the scheme, the path, the size of the filling, the format of what is
# sent, and the aims: ip,port … in one word each.
_BEGIN = r"""T=$1 N=$2 C=$3 NAME=$4 S=$5 P=$6 SIZE=$7 DATA=$8 AIMS=$9
now() { read -r U _ </proc/uptime; }
hex() { od -An -v -tx1 -N KEPT; }
send() { printf "$DATA" "$H"; [ "$SIZE" -eq 0 ] || head -c "$SIZE" /dev/zero | tr '\0' x; }
""".replace("KEPT", str(KEPT))

_LIMITED = """lim() { timeout "$T" "$@"; }
"""
# Where timeout is not GNU's: that of busybox looks once a second only. A sleep that is left ends within a second.
_LIMITED_BY_HAND = """lim() { exec 5<&0; "$@" <&5 & p=$!
(i=0; while [ $i -lt $T ]; do sleep 1; i=$((i+1)); done; kill $p) >/dev/null 2>&1 4>&- 5<&- & k=$!
wait $p; r=$?; kill $k 2>/dev/null; [ $r -ne 143 ] || r=124; return $r; }
"""

_END = r"""one() { I=${1%,*} Q=${1##*,}
case $I in *:*) W="[$I]";; *) W=$I;; esac
H=${NAME:-$W}:$Q
now; s=$U
l=$({ { run 2>&1; printf '=%s;' $? >&4; } | hex; } 4>&1)
i=$2; set -- $l
now; printf '@ %s %s %s %s\n' "$i" "$s" "$U" "$*" || exit 1; }
w=0
while [ $w -lt $C ]; do (j=0 k=0
while [ $k -lt $N ]; do i=0
for a in $AIMS; do [ $(((j + j / C) % C)) -ne $w ] || one $a $i; i=$((i+1)) j=$((j+1)); done
k=$((k+1)); done) & w=$((w+1)); done
wait
"""

_CURL = (
    'curl -q -sS -k -g -i --http1.1 --noproxy "*" -m "$T" ${NAME:+--resolve "$NAME:$Q:$W"} '
    "-w '\\n@%{time_connect} %{time_total}'"
)
# curl's own message says no more than that it could not connect.
_WHY = (
    """ || { r=$?; [ $r -ne 7 ] || curl -q -sv -g --noproxy "*" -m "$T" "http://$W:$Q/" 2>&1 | """
    "grep failed:; return $r; }"
)

TOOLS: dict[str, str] = {
    "tcp bash": """lim bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$I" "$Q\"""",
    "tcp nc-z": 'lim nc -n -z -v -w "$T" "$I" "$Q" </dev/null',
    "tcp nc-e": 'lim nc -w "$T" "$I" "$Q" -e true </dev/null',
    "tcp curl": (
        f"""curl -q -sS -g --noproxy "*" -m "$T" -w '\\n@%{{time_connect}} %{{time_total}}' """
        f'"telnet://$W:$Q" </dev/null{_WHY}'
    ),
    "said bash": """send | lim bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit; cat >&3; exec head -c 1200 <&3' "$I" "$Q\"""",
    "said nc-z": 'send | lim nc -n -v -w "$T" "$I" "$Q"',
    "said nc-e": 'send | lim nc -w "$T" "$I" "$Q"',
    "http curl": f'{_CURL} "$S://${{NAME:-$W}}:$Q$P" </dev/null{_WHY}',
    "post curl": (
        f"send | {_CURL} -H 'Expect:' -H 'Content-Type: application/octet-stream' --data-binary @- "
        f'"$S://${{NAME:-$W}}:$Q$P"{_WHY}'
    ),
    "http wget": 'lim wget -S -O - -T "$T" --header "Host: $H" "http://$W:$Q$P" </dev/null',
    "http wget-gnu": 'lim wget -t 1 -S -O - -T "$T" --header "Host: $H" "http://$W:$Q$P" </dev/null',
    "tls curl": f'{_CURL} -o /dev/null "https://${{NAME:-$W}}:$Q/" </dev/null{_WHY}',
    "udp bash": """send | lim bash -c 'exec 3<>"/dev/udp/$0/$1" || exit; cat >&3
exec dd bs=1200 count=1 <&3' "$I" "$Q\"""",
}
"""What `run` does, by what is asked and the program that does it: ``said`` sends bytes and keeps what comes back."""


def script(tool: str, timeout: bool) -> str:
    """The script for one of `TOOLS`, to be run by ``sh -c``. ``timeout``: that program is there."""
    limited = _LIMITED if timeout else _LIMITED_BY_HAND
    return f"{_BEGIN}{limited}run() {{ {TOOLS[tool]}; }}\n{_END}"


def printf_format(data: bytes, host: bytes = b"") -> str:
    """The format for which printf writes these bytes, with its one argument in the place of ``host``."""
    first, found, rest = data.partition(host) if host else (data, b"", b"")
    middle = "%s" if found else "%.0s"
    return "".join((_escaped(first), middle, _escaped(rest)))


def _escaped(data: bytes) -> str:
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 /.:,;*_-()"
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in data)


PYTHON = r"""
import json,sys,os,time,socket,ssl,binascii,threading
from concurrent.futures import ThreadPoolExecutor
o=json.loads(sys.argv[1]);aims=sys.argv[2].split();lock=threading.Lock()
T=o["t"];S=binascii.unhexlify(o["send"]);F=b"x"*o["fill"];clock=time.monotonic
def whole(b):
    if o["end"]=="frames":
        while len(b)>8:
            n=9+int.from_bytes(b[:3],"big")
            if len(b)>=n and(b[3]in(3,7)or b[3]in(0,1)and b[4]&1 and b[8]):return True
            b=b[n:]
        return False
    if o["end"]!="http":return o["end"]!="close"
    h,s,r=b.partition(b"\r\n\r\n")
    for l in h.lower().split(b"\r\n"):
        if l.startswith(b"content-length:"):return bool(s)and len(r)>=int(l[15:])
    return False
def one(j):
    i=j%len(aims);ip,port=aims[i].rsplit(",",1);t=clock();c=-1;d=b"";n=0;e="eof";cert=b"";v="";s=None
    try:
        f=socket.AF_INET6 if ":"in ip else socket.AF_INET
        s=socket.socket(f,socket.SOCK_DGRAM if o["udp"]else socket.SOCK_STREAM);s.settimeout(T)
        s.connect((ip,int(port)));c=clock()-t
        if o["tls"]:
            x=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT);x.check_hostname=False;x.verify_mode=ssl.CERT_NONE
            if o["alpn"]:x.set_alpn_protocols([o["alpn"]])
            s=x.wrap_socket(s,server_hostname=o["sni"]or None);cert=s.getpeercert(True)or b"";v=s.version()
        m=S.replace(b"\0host\0",(("[%s]"if":"in ip else"%s")%ip+":"+port).encode())if o["host"]else S
        m+=F
        if m or o["udp"]:s.send(m)if o["udp"]else s.sendall(m)
        if o["end"]=="connect":e="ok"
        while e=="eof":
            s.settimeout(max(.001,T-(clock()-t)));r=s.recv(65536);n+=len(r)
            if not r and not o["udp"]:break
            d+=r[:KEPT-len(d)]
            if whole(d)or o["udp"]or n>65536:e="ok"
    except ssl.SSLError as x:e="tls %s"%(x.reason or x)
    except socket.timeout:e="timeout"
    except OSError as x:e="errno %s"%(x.errno or x)
    u=clock()-t
    if s:s.close()
    h=lambda b:binascii.hexlify(b).decode()or"-"
    with lock:
        try:print("#",i,round(c,6),round(u,6),n,h(d),h(cert),v or"-",e);sys.stdout.flush()
        except OSError:os._exit(1)
with ThreadPoolExecutor(o["c"])as p:list(p.map(one,range(len(aims)*o["n"])))
""".replace("KEPT", str(KEPT))
"""Tries aims in Python 3.4 and later: the options in JSON, and the aims as the other script takes them."""
