#!/usr/bin/env python3
"""Time how fast packaged systems move one big random file over loopback.

  ./data_plane.py --list
  ./data_plane.py --systems nginx-curl,rqbit --scenario 1 --runs 3 --size-mib 1024 [--json out.jsonl]

Scenarios: 1 = 1 sender -> 1 receiver; 2 = 4 senders -> 1 receiver; 3 = 1 sender -> 4 receivers.
Wall time: from the start of the download command until the last receiver has the complete file
(the system's own verification included; the harness' own sha256 check comes after and is not counted).
CPU: utime+stime of every process that took part (senders, receivers, tracker, with children) inside
that window.  "mach CPU" is the whole machine's busy time in the same window (/proc/stat).
RSS: peak VmHWM of a receiver (mapped file pages included) and peak RssAnon (sampled each 25 ms).
NAME@cubic (or @reno, @bbr) runs a system with that TCP congestion control as the machine's default.
To put another program beside these: write one function with @system(...) as below.
"""
import argparse, atexit, hashlib, json, os, re, shutil, signal, socket, statistics, subprocess, sys
import tempfile, threading, time, urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TCK = os.sysconf("SC_CLK_TCK")
LT_PYTHON = os.environ.get("LT_PYTHON", "/usr/bin/python3")     # Debian's python3-libtorrent
SYSTEMS = {}


def system(name, scenarios=(1,), note=""):
    def deco(fn):
        SYSTEMS[name] = (fn, scenarios, note)
        return fn
    return deco


# ---------------------------------------------------------------- process accounting
def _stat(pid):
    """(ppid, utime+stime ticks, cutime+cstime ticks) or None"""
    try:
        s = open(f"/proc/{pid}/stat").read()
    except OSError:
        return None
    f = s[s.rindex(")") + 2:].split()
    return int(f[1]), int(f[11]) + int(f[12]), int(f[13]) + int(f[14])


def _tree(root):
    kids = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            st = _stat(d)
            if st:
                kids.setdefault(st[0], []).append(int(d))
    out, todo = [], [root]
    while todo:
        p = todo.pop()
        out.append(p)
        todo += kids.get(p, [])
    return out


def tree_cpu(root):
    """CPU seconds of a process, its living descendants and its reaped children"""
    t = 0
    for p in _tree(root):
        st = _stat(p)
        if st:
            t += st[1] + st[2]
    return t / TCK


def mem(pid, tree=False):
    """MiB: peak resident, and anonymous now; tree: summed over the descendants too"""
    hwm = anon = 0
    for q in _tree(pid) if tree else (pid,):
        try:
            for ln in open(f"/proc/{q}/status"):
                if ln.startswith("VmHWM"):
                    hwm += int(ln.split()[1])
                elif ln.startswith("RssAnon"):
                    anon += int(ln.split()[1])
        except OSError:
            pass
    return hwm / 1024, anon / 1024


class PageFill:
    """Keep memory full of clean page cache, so that a receiver's new pages come from reclaim, as on any machine
    that has been up for a while.  Why: in a VM with free-page reporting, freed memory is handed back to the host
    at once and touching it again costs about 2.5 CPU seconds per GiB, which would swamp what is measured here.
    For the same reason finished outputs are not deleted at once but when newer ones have pushed them out."""

    def __init__(self, path, gib):
        self.path, self.size, self.pos = Path(path), int(gib * 2**30), 0
        with open(self.path, "ab") as f:
            f.truncate(self.size)           # sparse: reading it fills the page cache without the disk
        self.fd = os.open(self.path, os.O_RDONLY)
        self.kept, self.kept_bytes = [], 0

    @staticmethod
    def meminfo(key):
        for ln in open("/proc/meminfo"):
            if ln.startswith(key + ":"):
                return int(ln.split()[1]) >> 10

    def fill(self, low=500, rounds=1.0):
        buf, n = bytearray(8 << 20), 0
        while self.meminfo("MemFree") > low and n < self.size * rounds:
            os.preadv(self.fd, [buf], self.pos)
            n += len(buf)
            self.pos = (self.pos + len(buf)) % self.size

    def keep(self, d, nbytes):
        self.kept.append((d, nbytes))
        self.kept_bytes += nbytes
        while self.kept_bytes > self.meminfo("MemTotal") * 1.15 * 2**20:
            d, k = self.kept.pop(0)
            self.kept_bytes -= k
            shutil.rmtree(d, ignore_errors=True)


FILL = None


def machine_busy():
    v = [int(x) for x in open("/proc/stat").readline().split()[1:]]
    return (v[0] + v[1] + v[2] + v[5] + v[6]) / TCK, v[7] / TCK     # busy, steal


LIVE = []


def _cleanup():
    for p in LIVE:
        if p.poll() is None:
            kill(p)


atexit.register(_cleanup)


def kill(p):
    """end a process this harness started, and its children, by pid"""
    pids = _tree(p.pid)
    for sig, wait in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        for q in pids:
            try:
                os.kill(q, sig)
            except OSError:
                pass
        try:
            p.wait(wait)
            break
        except subprocess.TimeoutExpired:
            continue


# ---------------------------------------------------------------- one run
class Run:
    def __init__(self, src, size, sha, torrent, scenario, root):
        self.src, self.size, self.sha, self.torrent = src, size, sha, torrent
        self.scenario = scenario
        self.nsend = 4 if scenario == 2 else 1
        self.nrecv = 4 if scenario == 3 else 1
        self.dir = Path(tempfile.mkdtemp(prefix="run", dir=root))
        self.servers, self.receivers, self.outs = [], [], []
        self.peak, self.panon, self.done_at = 0, 0, []
        self.note = ""
        self._n = 0

    # senders get a hard link, so all read the same (warm) page cache
    def seed_dir(self, i):
        d = self.dir / f"seed{i}"
        d.mkdir()
        os.link(self.src, d / "data.bin")
        return d

    def out_dir(self, i):
        d = self.dir / f"out{i}"
        d.mkdir(exist_ok=True)
        return d

    def spawn(self, cmd, **kw):
        self._n += 1
        log = open(self.dir / f"log{self._n}.txt", "wb")
        p = subprocess.Popen([str(c) for c in cmd], stdout=kw.pop("stdout", log), stderr=kw.pop("stderr", log),
                             stdin=kw.pop("stdin", subprocess.DEVNULL), start_new_session=True, **kw)
        p.log = self.dir / f"log{self._n}.txt"
        LIVE.append(p)
        return p

    def server(self, cmd, **kw):
        p = self.spawn(cmd, **kw)
        self.servers.append(p)
        return p

    def begin(self):
        if FILL:
            FILL.fill()
        self.cpu0 = {p.pid: tree_cpu(p.pid) for p in self.servers}
        self.busy0 = machine_busy()
        self.t0 = time.monotonic()

    def recv(self, cmd, out, **kw):
        """a one-shot download command: done when it exits 0"""
        p = self.spawn(cmd, **kw)
        p.cpu0 = 0
        self.receivers.append(p)
        self.outs.append(Path(out))
        return p

    def recv_daemon(self, p, out, done):
        """a long-running receiver: done when done() is true"""
        p.done = done
        p.cpu0 = self.cpu0.pop(p.pid, 0)
        if p in self.servers:
            self.servers.remove(p)
        self.receivers.append(p)
        self.outs.append(Path(out))

    def wait(self, timeout=900):
        todo, cpu = list(self.receivers), 0.0
        end = self.t0 + timeout
        tick = 0
        while todo:
            tick += 1
            for p in list(todo):
                if tick % 5 == 1:
                    h, a = mem(p.pid, hasattr(p, "done"))
                    self.peak, self.panon = max(self.peak, h), max(self.panon, a)
                if hasattr(p, "done"):
                    if tick % 4 == 0 and p.done():
                        todo.remove(p)
                        self.done_at.append(time.monotonic() - self.t0)
                    continue
                pid, status, ru = os.wait4(p.pid, os.WNOHANG)
                if pid:
                    self.done_at.append(time.monotonic() - self.t0)
                    p.returncode = os.waitstatus_to_exitcode(status)
                    cpu += ru.ru_utime + ru.ru_stime
                    todo.remove(p)
                    if p.returncode != 0:
                        raise RuntimeError(f"receiver exit {p.returncode}: {p.args}\n{tail(p.log)}")
            if time.monotonic() > end:
                raise RuntimeError("timeout; " + " | ".join(tail(p.log) for p in self.receivers + self.servers))
            if todo:
                time.sleep(0.005)
        t1 = time.monotonic()
        b1 = machine_busy()
        self.wall = t1 - self.t0
        for p in self.receivers:
            if hasattr(p, "done"):
                cpu += tree_cpu(p.pid) - p.cpu0
                h, a = mem(p.pid, True)
                self.peak, self.panon = max(self.peak, h), max(self.panon, a)
        srv = sum(tree_cpu(p.pid) - self.cpu0.get(p.pid, 0) for p in self.servers)
        self.cpu_recv, self.cpu_send, self.cpu = cpu, srv, cpu + srv
        self.busy, self.steal = b1[0] - self.busy0[0], b1[1] - self.busy0[1]

    def verify(self):
        for o in self.outs:
            if sha256(o) != self.sha:
                raise RuntimeError(f"sha256 mismatch: {o}")

    def close(self):
        for p in self.servers + self.receivers:
            if p.poll() is None:
                kill(p)
        if FILL and self.outs:
            for x in self.dir.iterdir():
                if not x.name.startswith("out"):
                    shutil.rmtree(x, ignore_errors=True) if x.is_dir() else x.unlink()
            FILL.keep(self.dir, self.size * self.nrecv)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)


def tail(path, n=600):
    try:
        return Path(path).read_bytes()[-n:].decode("utf8", "replace")
    except OSError:
        return ""


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


_used = set()


def port():
    while True:
        s = socket.socket()
        s.bind(("127.0.0.1", 0))
        n = s.getsockname()[1]
        s.close()
        if n not in _used:
            _used.add(n)
            return n


def wait_port(host, p, timeout=20):
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host, p), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise RuntimeError(f"nothing listens on {host}:{p}")
            time.sleep(0.02)


def wait_for(fn, timeout=120, what="condition", step=0.1):
    end = time.monotonic() + timeout
    while not fn():
        if time.monotonic() > end:
            raise RuntimeError(f"timeout waiting for {what}")
        time.sleep(step)


def http(url, data=None, headers=None, timeout=30, method=None):
    rq = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(rq, timeout=timeout) as r:
        return r.read()


# ---------------------------------------------------------------- plain copies
@system("cp", note="page cache to page cache; no check")
def _cp(r):
    r.begin()
    o = r.out_dir(0) / "data.bin"
    r.recv(["cp", r.src, o], o)
    r.wait()


@system("socat", note="file->TCP->file, 1 MiB blocks; no check")
def _socat(r):
    n = port()
    o = r.out_dir(0) / "data.bin"
    s = r.server(["socat", "-u", "-b", 1 << 20, f"OPEN:{r.src},rdonly", f"TCP-LISTEN:{n},bind=127.0.0.2,reuseaddr"])
    time.sleep(0.3)
    r.begin()
    r.recv(["socat", "-u", "-b", 1 << 20, f"TCP:127.0.0.2:{n}", f"CREATE:{o}"], o)
    _wait_oneshot_server(r, s)


@system("nc", note="openbsd nc, file->TCP->file; no check")
def _nc(r):
    n = port()
    o = r.out_dir(0) / "data.bin"
    s = r.server(["nc", "-N", "-l", "127.0.0.2", n], stdin=open(r.src, "rb"))
    time.sleep(0.3)
    r.begin()
    with open(o, "wb") as f:
        r.recv(["nc", "-d", "127.0.0.2", n], o, stdout=f)
    _wait_oneshot_server(r, s)


def _wait_oneshot_server(r, s):
    """the sender exits by itself: take its CPU from wait4"""
    r.servers.remove(s)
    s.cpu0 = 0
    r.receivers.append(s)
    r.wait()
    r.receivers.remove(s)


# ---------------------------------------------------------------- nginx
def nginx(r, tls=False, workers=1, extra_http="", extra_ssl=""):
    d = r.dir / "nginx"
    d.mkdir()
    (d / "www").mkdir()
    os.link(r.src, d / "www" / "data.bin")
    for x in (r.dir, r.dir.parent, d, d / "www"):
        os.chmod(x, 0o755)
    n = port()
    listen = f"listen 127.0.0.2:{n}" + (" ssl;" if tls else ";")
    ssl = ""
    if tls:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes", "-keyout", d / "key.pem", "-out", d / "crt.pem", "-days", "30", "-subj",
                        "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.2"], check=True, capture_output=True)
        ssl = f"ssl_certificate {d}/crt.pem; ssl_certificate_key {d}/key.pem; ssl_protocols TLSv1.3; {extra_ssl}"
    (d / "nginx.conf").write_text(
        f"daemon off; worker_processes {workers}; pid {d}/pid; error_log {d}/err.log;\n"
        f"events {{ worker_connections 512; }}\n"
        f"http {{ access_log off; sendfile on; tcp_nopush on; {extra_http}\n"
        + "".join(f"{k}_temp_path {d}/{k};\n" for k in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        + f"server {{ {listen} {ssl} root {d}/www; }} }}\n")
    r.server(["nginx", "-p", d, "-c", d / "nginx.conf"])
    wait_port("127.0.0.2", n)
    time.sleep(0.2)
    return n, d


def curl(r, url, *opts):
    r.begin()
    for i in range(r.nrecv):
        o = r.out_dir(i) / "data.bin"
        r.recv(["curl", "-sS", "--fail", "--noproxy", "*", *opts, "-o", o, url], o)
    r.wait()


@system("nginx-curl", (1, 3), "http, sendfile, 1 worker; no check")
def _nginx_curl(r):
    n, _ = nginx(r)
    curl(r, f"http://127.0.0.2:{n}/data.bin")


@system("nginx-curl-2w", (1, 3), "http, sendfile, 2 workers; no check")
def _nginx_curl2(r):
    n, _ = nginx(r, workers=2)
    curl(r, f"http://127.0.0.2:{n}/data.bin")


@system("nginx-tls-curl", (1, 3), "https TLS1.3 AES-256-GCM (default), 1 worker; AEAD only")
def _nginx_tls(r):
    n, d = nginx(r, tls=True)
    curl(r, f"https://127.0.0.2:{n}/data.bin", "--cacert", d / "crt.pem", "--tlsv1.3")


@system("nginx-tls-curl-aes128", (1,), "https TLS1.3 AES-128-GCM, 1 worker, ssl_buffer 64k")
def _nginx_tls128(r):
    n, d = nginx(r, tls=True, extra_ssl="ssl_buffer_size 64k; output_buffers 2 512k;")
    curl(r, f"https://127.0.0.2:{n}/data.bin", "--cacert", d / "crt.pem", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256")


def aria2_http(r, *opts):
    n, _ = nginx(r, workers=2)
    r.begin()
    for i in range(r.nrecv):
        o = r.out_dir(i)
        r.recv(["aria2c", "--no-conf", "-q", "-x4", "-s4", "--no-proxy=127.0.0.2", *opts, "-d", o, "-o", "data.bin",
                f"http://127.0.0.2:{n}/data.bin"], o / "data.bin")
    r.wait()


@system("nginx-aria2", (1, 3), "aria2c -x4 -s4, default file-allocation=prealloc; no check")
def _nginx_aria2(r):
    aria2_http(r)


@system("nginx-aria2-tuned", (1, 3), "aria2c -x4 -s4 --file-allocation=falloc; no check")
def _nginx_aria2t(r):
    aria2_http(r, "--file-allocation=falloc")


# ---------------------------------------------------------------- rsync
def rsync(r, *opts):
    n = port()
    d = r.seed_dir(0)
    c = r.dir / "rsyncd.conf"
    c.write_text(f"use chroot = no\nuid = root\ngid = root\nread only = yes\n[m]\npath = {d}\n")
    r.server(["rsync", "--daemon", "--no-detach", f"--config={c}", f"--port={n}", "--address=127.0.0.2"])
    wait_port("127.0.0.2", n)
    r.begin()
    for i in range(r.nrecv):
        o = r.out_dir(i) / "data.bin"
        r.recv(["rsync", *opts, f"rsync://127.0.0.2:{n}/m/data.bin", o], o)
    r.wait()


@system("rsync", (1, 3), "rsync daemon, defaults; whole-file checksum checked")
def _rsync(r):
    rsync(r)


# ---------------------------------------------------------------- BitTorrent: trackers
def opentracker(r):
    n = port()
    d = r.dir / "ot"
    d.mkdir()
    os.chmod(r.dir, 0o755)
    os.chmod(d, 0o777)
    _, ih = torrent_with(r)
    (d / "white").write_text(ih + "\n")       # Debian's build serves only listed torrents
    r.server(["opentracker", "-i", "127.0.0.1", "-p", n, "-P", n, "-d", d, "-u", "nobody", "-w", "white"])
    wait_port("127.0.0.1", n)
    return f"http://127.0.0.1:{n}/announce"


def bdecode(b):
    def dec(i):
        c = b[i:i + 1]
        if c == b"i":
            e = b.index(b"e", i)
            return int(b[i + 1:e]), e + 1
        if c == b"l":
            i += 1
            out = []
            while b[i:i + 1] != b"e":
                v, i = dec(i)
                out.append(v)
            return out, i + 1
        if c == b"d":
            i += 1
            out = {}
            while b[i:i + 1] != b"e":
                k, i = dec(i)
                v, i = dec(i)
                out[k] = v
            return out, i + 1
        e = b.index(b":", i)
        n = int(b[i:e])
        return b[e + 1:e + 1 + n], e + 1 + n
    return dec(0)[0]


def bencode(v):
    if isinstance(v, int):
        return b"i%de" % v
    if isinstance(v, bytes):
        return b"%d:%s" % (len(v), v)
    if isinstance(v, list):
        return b"l" + b"".join(bencode(x) for x in v) + b"e"
    return b"d" + b"".join(bencode(k) + bencode(v[k]) for k in sorted(v)) + b"e"


def torrent_with(r, announce=None):
    t = bdecode(r.torrent.read_bytes())
    t.pop(b"announce", None)
    t.pop(b"announce-list", None)
    if announce:
        t[b"announce"] = announce.encode()
    f = r.dir / "t.torrent"
    f.write_bytes(bencode(t))
    return f, hashlib.sha1(bencode(t[b"info"])).hexdigest()


# ---------------------------------------------------------------- BitTorrent: libtorrent both sides
def lt_cmd(role, mode, addr, p, tor, d, peers=()):
    c = [LT_PYTHON, HERE / "lt_peer.py", "--role", role, "--mode", mode, "--listen", f"{addr}:{p}",
         "--torrent", tor, "--dir", d]
    for x in peers:
        c += ["--peer", x]
    return c


def lt_seeders(r, tor, mode, n, peers=()):
    out = []
    for i in range(n):
        p = port()
        s = r.server(lt_cmd("seed", mode, f"127.0.0.{2 + i}", p, tor, r.seed_dir(i), peers), stdin=subprocess.PIPE)
        out.append((s, f"127.0.0.{2 + i}:{p}"))
    for s, _ in out:
        wait_for(lambda: b"SEEDING" in s.log.read_bytes(), what="libtorrent seeder " + tail(s.log))
    return out


def libtorrent(r, mode):
    tor, _ = torrent_with(r)
    seeds = [a for _, a in lt_seeders(r, tor, mode, r.nsend)]
    ports = [port() for _ in range(r.nrecv)]
    addr = [f"127.0.0.{12 + i}" for i in range(r.nrecv)]
    r.begin()
    for i in range(r.nrecv):
        peers = seeds + [f"{addr[j]}:{ports[j]}" for j in range(r.nrecv) if j != i]
        o = r.out_dir(i)
        if r.nrecv == 1:
            r.recv(lt_cmd("leech", mode, addr[i], ports[i], tor, o, peers), o / "data.bin")
        else:
            # finished ones stay and seed, as they would in a group.  (When they exit at once, the others can stall:
            # a connection lost that way is retried only after 60 s and more.)
            p = r.spawn(lt_cmd("leech", mode, addr[i], ports[i], tor, o, peers) + ["--stay"])
            r.recv_daemon(p, o / "data.bin", lambda p=p: b"flushed" in p.log.read_bytes())
    r.wait(timeout=300)
    r.note = tail(r.receivers[0].log, 200).strip().replace("\n", "; ")


for _m, _n in (("default", "settings as shipped (uTP tried first, MSE plain fallback)"),
               ("tcp", "default but uTP off"),
               ("tuned", "uTP off, high_performance_seed preset, MSE off"),
               ("rc4", "uTP off, MSE RC4 forced (default preset)"),
               ("tuned-rc4", "tuned, MSE RC4 forced")):
    system(f"libtorrent-{_m}", (1, 2, 3), _n + "; piece sha1")(lambda r, m=_m: libtorrent(r, m))


# ---------------------------------------------------------------- BitTorrent: aria2 both sides
def aria2_cmd(addr, p, tor, d, *opts):
    return ["aria2c", "--no-conf", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false",
            "--disable-ipv6=true", f"--interface={addr}", f"--listen-port={p}", "--no-proxy=127.0.0.1",
            "--summary-interval=0", "--console-log-level=notice", "--show-console-readout=false",
            "-d", d, *opts, tor]


def aria2_bt(r, *opts):
    ann = opentracker(r)
    tor, _ = torrent_with(r, ann)
    for i in range(r.nsend):
        r.server(aria2_cmd(f"127.0.0.{2 + i}", port(), tor, r.seed_dir(i), "--check-integrity=true",
                               "--seed-ratio=0.0", *opts))
    hx = bdecode(tor.read_bytes())
    ih = hashlib.sha1(bencode(hx[b"info"])).digest()
    q = "".join(f"%{b:02x}" for b in ih)

    def seen():
        a = http(ann.replace("/announce", "/scrape") + "?info_hash=" + q)
        return (f"8:completei{r.nsend}e").encode() in a
    wait_for(seen, what="aria2 seeders at the tracker", timeout=30)
    r.begin()
    for i in range(r.nrecv):
        o = r.out_dir(i)
        p = r.spawn(aria2_cmd(f"127.0.0.{12 + i}", port(), tor, o, "--seed-time=0", *opts))
        # complete at this notice; the process itself lingers 1-2 s more to tell the tracker good-bye
        r.recv_daemon(p, o / "data.bin", lambda p=p: b"Seeding is over" in p.log.read_bytes())
    r.wait()


@system("aria2-bt", (1, 2, 3), "defaults (prealloc), opentracker; piece sha1")
def _aria2(r):
    aria2_bt(r)


@system("aria2-bt-tuned", (1, 2, 3), "--file-allocation=falloc --disk-cache=64M, opentracker; piece sha1")
def _aria2t(r):
    aria2_bt(r, "--file-allocation=falloc", "--disk-cache=64M", "--bt-request-peer-speed-limit=0")


@system("aria2-bt-rc4", (1,), "tuned + --bt-require-crypto --bt-min-crypto-level=arc4")
def _aria2e(r):
    aria2_bt(r, "--file-allocation=falloc", "--disk-cache=64M", "--bt-require-crypto=true",
             "--bt-min-crypto-level=arc4")


# ---------------------------------------------------------------- BitTorrent: transmission
class Transmission:
    def __init__(self, r, addr, d, tuned=False):
        self.r, self.rpc, self.port, self.addr, self.sid = r, port(), port(), addr, ""
        c = Path(tempfile.mkdtemp(prefix="tr", dir=r.dir))
        s = {"bind-address-ipv4": addr, "bind-address-ipv6": "::1", "peer-port": self.port,
             "rpc-port": self.rpc, "rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": False,
             "dht-enabled": False, "lpd-enabled": False, "port-forwarding-enabled": False,
             "download-dir": str(d), "rpc-enabled": True}
        if tuned:
            s |= {"utp-enabled": False, "encryption": 0, "cache-size-mb": 64, "preallocation": 1,
                  "peer-limit-per-torrent": 50, "upload-slots-per-torrent": 14, "pex-enabled": False}
        (c / "settings.json").write_text(json.dumps(s))
        self.p = r.server(["transmission-daemon", "-f", "-g", c])
        wait_port("127.0.0.1", self.rpc)

    def call(self, method, **a):
        for _ in range(2):
            try:
                b = http(f"http://127.0.0.1:{self.rpc}/transmission/rpc",
                         json.dumps({"method": method, "arguments": a}).encode(),
                         {"X-Transmission-Session-Id": self.sid})
                return json.loads(b)["arguments"]
            except urllib.error.HTTPError as e:
                if e.code != 409:
                    raise
                self.sid = e.headers["X-Transmission-Session-Id"]
        raise RuntimeError("rpc")

    def add(self, tor, d):
        return self.call("torrent-add", filename=str(tor), **{"download-dir": str(d)})

    def field(self, *f):
        return self.call("torrent-get", fields=list(f))["torrents"][0]

    def seed(self, tor, d):
        self.add(tor, d)
        wait_for(lambda: self.field("percentDone")["percentDone"] == 1 and self.field("status")["status"] == 6,
                 what="transmission seeding")


def transmission_both(r, tuned):
    ann = opentracker(r)
    tor, _ = torrent_with(r, ann)
    for i in range(r.nsend):
        d = r.seed_dir(i)
        Transmission(r, f"127.0.0.{2 + i}", d, tuned).seed(tor, d)
    time.sleep(3)
    ts = [Transmission(r, f"127.0.0.{12 + i}", r.out_dir(i), tuned) for i in range(r.nrecv)]
    r.begin()
    for i, t in enumerate(ts):
        t.add(tor, r.out_dir(i))
        r.recv_daemon(t.p, r.out_dir(i) / "data.bin",
                      lambda t=t: t.field("percentDone", "leftUntilDone")["percentDone"] == 1)
    r.wait(timeout=40)


@system("transmission-both", (1, 2, 3), "both sides transmission (3.00 refuses peers in 127/8: expected to fail)")
def _tr(r):
    transmission_both(r, False)


def transmission_recv(r, tuned):
    """libtorrent seeders dial out to transmission, because transmission itself will not dial 127/8"""
    tor, _ = torrent_with(r)
    seeds = lt_seeders(r, tor, "tuned", r.nsend)
    t = Transmission(r, "127.0.0.12", r.out_dir(0), tuned)
    r.begin()
    t.add(tor, r.out_dir(0))
    for s, _ in seeds:
        s.stdin.write(f"connect 127.0.0.12 {t.port}\n".encode())
        s.stdin.flush()
    r.recv_daemon(t.p, r.out_dir(0) / "data.bin", lambda: t.field("percentDone")["percentDone"] == 1)
    r.wait(timeout=300)


def transmission_send(r, tuned):
    tor, _ = torrent_with(r)
    d = r.seed_dir(0)
    t = Transmission(r, "127.0.0.2", d, tuned)
    t.seed(tor, d)
    ports = [port() for _ in range(r.nrecv)]
    r.begin()
    for i in range(r.nrecv):
        o = r.out_dir(i)
        peers = [f"127.0.0.2:{t.port}"] + [f"127.0.0.{12 + j}:{ports[j]}" for j in range(r.nrecv) if j != i]
        r.recv(lt_cmd("leech", "tuned" if tuned else "default", f"127.0.0.{12 + i}", ports[i], tor, o, peers),
               o / "data.bin")
    r.wait(timeout=300)


for _t in (False, True):
    _x = "-tuned" if _t else ""
    system(f"transmission-recv{_x}", (1, 2), "transmission downloads from libtorrent-tuned seeders that dial it; piece sha1")(
        lambda r, t=_t: transmission_recv(r, t))
    system(f"transmission-send{_x}", (1, 3), "transmission seeds to libtorrent; piece sha1")(
        lambda r, t=_t: transmission_send(r, t))


# ---------------------------------------------------------------- syncthing
def syncthing(r, *_):
    """two instances on 127.0.0.x, no discovery, no relays; the receiver's folder is unpaused at t0"""
    env = dict(os.environ, STNOUPGRADE="1", STNODEFAULTFOLDER="1")

    def make(i, addr, folder):
        h = r.dir / f"st{i}"
        subprocess.run(["syncthing", "generate", f"--home={h}", "--no-default-folder"], check=True,
                       capture_output=True, env=env)
        did = subprocess.run(["syncthing", "--home", h, "--device-id"], check=True, capture_output=True,
                             env=env).stdout.decode().strip()
        return dict(h=h, id=did, addr=addr, port=port(), gui=port(), folder=folder)

    a = make(0, "127.0.0.2", r.seed_dir(0))
    b = make(1, "127.0.0.12", r.out_dir(0))
    for me in (a, b):
        dev = "".join(f'<device id="{x["id"]}" compression="metadata"><address>tcp4://{x["addr"]}:{x["port"]}</address>'
                      f"<paused>false</paused></device>" for x in (a, b))
        ids = "".join(f'<device id="{x["id"]}"></device>' for x in (a, b))
        (me["h"] / "config.xml").write_text(
            f'<configuration version="36"><folder id="f" path="{me["folder"]}" type="sendreceive" rescanIntervalS="3600" '
            f'fsWatcherEnabled="false">{ids}<paused>{"true" if me is b else "false"}</paused></folder>{dev}'
            f'<gui enabled="true" tls="false"><address>127.0.0.1:{me["gui"]}</address><apikey>k</apikey></gui>'
            f'<options><listenAddress>tcp4://{me["addr"]}:{me["port"]}</listenAddress>'
            "<globalAnnounceEnabled>false</globalAnnounceEnabled><localAnnounceEnabled>false</localAnnounceEnabled>"
            "<relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled><startBrowser>false</startBrowser>"
            "<urAccepted>-1</urAccepted><crashReportingEnabled>false</crashReportingEnabled>"
            "<autoUpgradeIntervalH>0</autoUpgradeIntervalH><stunKeepaliveStartS>0</stunKeepaliveStartS>"
            "</options></configuration>")
        me["p"] = r.server(["syncthing", "serve", "--no-browser", "--no-upgrade", "--no-restart", f"--home={me['h']}"],
                           env=env)

    def api(me, path, data=None, method=None):
        return json.loads(http(f"http://127.0.0.1:{me['gui']}/rest/{path}", data, {"X-API-Key": "k"},
                               method=method) or b"{}")

    def up(me):
        try:
            return api(me, "system/ping")
        except OSError:
            return False
    for me in (a, b):
        wait_for(lambda: up(me), what="syncthing api " + tail(me["p"].log))
    wait_for(lambda: api(a, "db/status?folder=f")["localBytes"] == r.size
             and api(a, "db/status?folder=f")["state"] == "idle", what="syncthing scan", timeout=200)
    wait_for(lambda: api(a, f"system/connections")["connections"][b["id"]]["connected"], what="syncthing connect")
    time.sleep(1)
    r.begin()
    api(b, "config/folders/f", b'{"paused": false}', "PATCH")
    out = r.out_dir(0) / "data.bin"
    r.recv_daemon(b["p"], out, out.exists)      # renamed into place after its blocks were verified
    r.wait()


system("syncthing", (1,), "two instances, TLS, defaults; block sha256")(syncthing)




# ---------------------------------------------------------------- rqbit both sides
def rqbit_cmd(addr, p, *opts):
    return ["rqbit", "-v", "warn", "--disable-dht", "--disable-lsd", "--disable-upnp-port-forward",
            "--disable-trackers", "--ipv4-only", "--listen-ip", addr, "--listen-port", p, *opts]


def rqbit(r, seed_opts=(), recv_opts=()):
    tor, _ = torrent_with(r)
    seeds = []
    for i in range(r.nsend):
        p, api, d = port(), port(), r.seed_dir(i)
        s = r.server(rqbit_cmd(f"127.0.0.{2 + i}", p, "--http-api-listen-addr", f"127.0.0.1:{api}", *seed_opts,
                               "server", "start", "--disable-persistence", d))
        wait_port("127.0.0.1", api)
        http(f"http://127.0.0.1:{api}/torrents?overwrite=true&output_folder={d}", tor.read_bytes(), timeout=60)
        seeds.append((api, f"127.0.0.{2 + i}:{p}"))
    for api, _ in seeds:
        wait_for(lambda: json.loads(http(f"http://127.0.0.1:{api}/torrents/0/stats/v1"))["finished"],
                 what="rqbit seeder check")
    ports = [port() for _ in range(r.nrecv)]
    r.begin()
    for i in range(r.nrecv):
        peers = [x for _, x in seeds] + [f"127.0.0.{12 + j}:{ports[j]}" for j in range(r.nrecv) if j != i]
        o = r.out_dir(i)
        r.recv(rqbit_cmd(f"127.0.0.{12 + i}", ports[i], *recv_opts, "download", "-e", "--disable-http-api",
                         "--initial-peers", ",".join(peers), "-o", o, tor), o / "data.bin")
    r.wait()


@system("rqbit", (1, 2, 3), "defaults, TCP; piece sha1")
def _rqbit(r):
    rqbit(r)


# ---------------------------------------------------------------- sendme (iroh, QUIC)
@system("sendme", (1, 3), "iroh QUIC, --relay disabled; blake3 tree")
def _sendme(r):
    d = r.seed_dir(0)
    s = r.server(["sendme", "send", "--relay", "disabled", "--ticket-type", "addresses", "--no-progress",
                  "--magic-ipv4-addr", f"127.0.0.2:{port()}", d / "data.bin"], cwd=d)
    wait_for(lambda: re.search(rb"(blob[a-z0-9]{40,})", s.log.read_bytes()), what="sendme ticket: " + tail(s.log))
    ticket = re.search(rb"(blob[a-z0-9]{40,})", s.log.read_bytes()).group(1).decode()
    r.begin()
    for i in range(r.nrecv):
        o = r.out_dir(i)
        r.recv(["sendme", "receive", "--relay", "disabled", "--no-progress", "--magic-ipv4-addr",
                f"127.0.0.{12 + i}:{port()}", ticket], o / "data.bin", cwd=o)
    r.wait()


# ---------------------------------------------------------------- main
# ---------------------------------------------------------------- Shoal
SHOAL_BIN = Path(os.environ.get("SHOAL_BIN", HERE.parent.parent / "target" / "release"))


class Shoal:
    """one client over its public interface: a live process fed on stdin, or one script"""

    def __init__(self, r, info, name, addr):
        self.r, self.name = r, name
        self.cmd = [SHOAL_BIN / "client", f"{addr}:0", info, "--json", "--data-dir", r.dir / f"shoal-{name}"]

    def script(self, *lines):
        p = subprocess.run([str(c) for c in self.cmd] + [x for ln in lines for x in ("-c", ln)], capture_output=True,
                           timeout=300)
        if p.returncode != 0:
            raise RuntimeError(f"{self.name}: {lines}: {p.stdout.decode()} {p.stderr.decode()}")

    def account(self):
        self.script(f"create_user {self.name} password-{self.name}", f"login {self.name} password-{self.name}")

    def seed(self, line):
        """a process that runs `line` and stays"""
        p = self.r.server(self.cmd + ["--stay", "-c", line])
        wait_for(lambda: b'"ok":' in p.log.read_bytes(), what=f"{self.name}: {line}", timeout=300, step=0.05)
        if b'"ok":true' not in p.log.read_bytes():
            raise RuntimeError(f"{self.name}: {line}: {tail(p.log)}")

    def fetch(self, out):
        self.r.recv(self.cmd + ["-c", f"download_file g data.bin {out}"], out)


@system("shoal", (1, 2, 3), "two trackers, TLS 1.3; piece sha1 and blake3, defaults")
def _shoal(r):
    info = r.dir / "tracker_info.txt"
    ports = [port(), port()]
    info.write_text("".join(f"127.0.0.1:{p}\n" for p in ports))
    for i in (1, 2):
        t = r.server([SHOAL_BIN / "tracker", info, str(i), "--data-dir", r.dir / f"tracker{i}"])
        wait_for(lambda: b" ready on " in t.log.read_bytes(), what=f"tracker {i} {tail(t.log)}", step=0.02)
    seeders = [Shoal(r, info, f"s{i}", f"127.0.0.{2 + i}") for i in range(r.nsend)]
    leechers = [Shoal(r, info, f"l{i}", f"127.0.0.{12 + i}") for i in range(r.nrecv)]
    for c in seeders + leechers:
        c.account()
    seeders[0].script("create_group g")
    for c in seeders[1:] + leechers:
        c.script("join_group g")
    seeders[0].script(*[f"accept_request g {c.name}" for c in seeders[1:] + leechers])
    for i, c in enumerate(seeders):
        c.seed(f"upload_file {r.seed_dir(i) / 'data.bin'} g")
    r.begin()
    for i, c in enumerate(leechers):
        c.fetch(r.out_dir(i) / "data.bin")
    r.wait()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--list", action="store_true")
    ap.add_argument("--systems", default="")
    ap.add_argument("--scenario", default="1")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--size-mib", type=int, default=1024)
    ap.add_argument("--piece-kib", type=int, default=1024)
    ap.add_argument("--scratch", default=None, help="where scratch folders go (default: the system's temp folder)")
    ap.add_argument("--json", help="append one JSON line per run")
    ap.add_argument("--fill-file", help="sparse file (on the scratch disk) used to keep the page cache full; see PageFill")
    ap.add_argument("--keep", action="store_true", help="keep a failed run's folder")
    a = ap.parse_args()
    if a.list or not a.systems:
        for k, (_, sc, note) in SYSTEMS.items():
            print(f"{k:26} scenarios {','.join(map(str, sc)):6} {note}")
        return
    root = Path(tempfile.mkdtemp(prefix="dp", dir=a.scratch))
    if a.fill_file:
        global FILL
        FILL = PageFill(a.fill_file, PageFill.meminfo("MemTotal") / 1024 - 1.5)
        FILL.fill()
    os.chmod(root, 0o755)
    atexit.register(lambda: shutil.rmtree(root, ignore_errors=True) if not a.keep else print("kept", root))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    src = root / "src" / "data.bin"
    src.parent.mkdir()
    h = hashlib.sha256()
    with open(src, "wb") as f:
        for _ in range(a.size_mib):
            b = os.urandom(1 << 20)
            h.update(b)
            f.write(b)
    sha, size = h.hexdigest(), a.size_mib << 20
    tor = root / "data.torrent"
    make_torrent(src, tor, a.piece_kib << 10)
    os.sync()
    cc = CC.read_text().strip()
    atexit.register(set_cc, cc)
    rows = []
    for sc in [int(x) for x in a.scenario.split(",")]:
        for name in a.systems.split(","):
            fn, scs, note = SYSTEMS[name.split("@")[0]]
            if sc not in scs:
                continue
            set_cc(name.partition("@")[2] or cc)
            got = []
            for k in range(a.runs):
                os.sync()
                time.sleep(0.5)
                sha256(src)                     # keep the page cache warm
                r = Run(src, size, sha, tor, sc, root)
                try:
                    fn(r)
                    r.verify()
                    row = dict(system=name, scenario=sc, size_mib=a.size_mib, run=k, wall=r.wall,
                               mibs=a.size_mib * r.nrecv / r.wall, cpu=r.cpu, cpu_send=r.cpu_send,
                               cpu_recv=r.cpu_recv, cpu_gib=r.cpu / (a.size_mib * r.nrecv / 1024), mach=r.busy,
                               steal=r.steal, rss=r.peak, anon=r.panon, first=min(r.done_at), cc=CC.read_text().strip(), note=r.note)
                    got.append(row)
                    if a.json:
                        open(a.json, "a").write(json.dumps(row) + "\n")
                    print(f"# {name} s{sc} run {k}: {r.wall:.2f} s, cpu send {r.cpu_send:.2f} recv {r.cpu_recv:.2f}"
                          f" mach {r.busy:.2f} steal {r.steal:.2f} {r.note}", flush=True)
                except Exception as e:
                    print(f"# {name} s{sc} run {k} FAILED: {type(e).__name__}: {e}", flush=True)
                    if a.json:
                        open(a.json, "a").write(json.dumps(dict(system=name, scenario=sc, size_mib=a.size_mib, run=k,
                                                                failed=str(e)[:600])) + "\n")
                    if a.keep:
                        for p in r.servers + r.receivers:
                            if p.poll() is None:
                                kill(p)
                        return
                    r.close()
                    break
                r.close()
            if got:
                rows.append(summary(got))
    table(rows)


CC = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def set_cc(name):
    """system-wide default TCP congestion control, put back at the end of the program"""
    if CC.read_text().strip() != name:
        CC.write_text(name)


def summary(got):
    med = lambda k: statistics.median(x[k] for x in got)
    return dict(system=got[0]["system"], scenario=got[0]["scenario"], n=len(got), wall=med("wall"),
                lo=min(x["wall"] for x in got), hi=max(x["wall"] for x in got), mibs=med("mibs"), cpu=med("cpu"),
                cpu_gib=med("cpu_gib"), cs=med("cpu_send"), cr=med("cpu_recv"), mach=med("mach"), rss=med("rss"),
                anon=med("anon"))


def table(rows):
    print(f"\n{'system':26} sc  n  {'wall s (min-max)':>22} {'MiB/s':>8} {'CPU s':>7} {'CPU s/GiB':>9}"
          f" {'send':>6} {'recv':>6} {'mach':>6} {'RSS MiB':>8} {'anon MiB':>8}")
    for x in rows:
        print(f"{x['system']:26} {x['scenario']:2} {x['n']:2}  {x['wall']:8.2f} ({x['lo']:.2f}-{x['hi']:.2f})".ljust(56)
              + f" {x['mibs']:8.0f} {x['cpu']:7.2f} {x['cpu_gib']:9.2f} {x['cs']:6.2f} {x['cr']:6.2f} {x['mach']:6.2f}"
                f" {x['rss']:8.0f} {x['anon']:8.0f}")


def make_torrent(src, out, piece):
    hs = b""
    with open(src, "rb") as f:
        while b := f.read(piece):
            hs += hashlib.sha1(b).digest()
    out.write_bytes(bencode({b"info": {b"length": src.stat().st_size, b"name": b"data.bin", b"piece length": piece,
                                       b"pieces": hs}}))


if __name__ == "__main__":
    main()
