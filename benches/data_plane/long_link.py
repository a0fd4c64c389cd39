#!/usr/bin/env python3
"""One file over a slow, long or lossy link: nginx with TLS and curl, then Shoal, over the same link.

For machines without netem. Two network namespaces are joined by two TUN devices; this program carries each packet from
one to the other, as late as it is told, at most so fast, and loses some. Root, Linux.

    ./long_link.py --links 1:0,20:0,200:0,20:1,200:0.1 --runs 3
    ./long_link.py --links 200:0,200:0.1 --size 29 --runs 5       one file of so many MiB
    ./long_link.py --links 200:0 --files 100 --runs 3             so many of 100 KiB, one after the other
"""

import argparse, ctypes, fcntl, hashlib, heapq, json, os, random, select, shutil, signal, statistics, struct, subprocess
import sys, tempfile, time
from pathlib import Path

SHOAL_BIN = Path(os.environ.get("SHOAL_BIN", Path(__file__).parents[2] / "target" / "release"))
NEAR, FAR = "shoal-near", "shoal-far"           # namespaces: senders and trackers here, the receiver there
NEAR_ADDRESS, FAR_ADDRESS = "10.77.0.1", "10.77.0.2"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
MTU = 1500
PROBE = 8 << 20


def run(*cmd):
    subprocess.run([str(c) for c in cmd], check=True)


def within(namespace, cmd):
    return ["ip", "netns", "exec", namespace] + [str(c) for c in cmd]


def tun_in(namespace, address, peer):
    """an open TUN device in a namespace"""
    libc = ctypes.CDLL(None, use_errno=True)
    here, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    if libc.setns(there, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", b"shoal0", IFF_TUN | IFF_NO_PI))
    libc.setns(here, 0)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "link", "set", "dev", "shoal0", "mtu", MTU, "txqueuelen", 1000, "up")
    run("ip", "-n", namespace, "addr", "add", address, "peer", peer, "dev", "shoal0")
    return fd


def carry(near, far, delay, loss, rate):
    """until it is killed: `delay` in seconds one way, `loss` as a fraction, `rate` in bytes per second each way"""
    buffer = max(256, int(2 * rate * (2 * delay + 0.02) / MTU))      # packets that wait their turn, each way
    waiting, n = [], 0                                               # (when, number, to, packet)
    free = {near: 0.0, far: 0.0}                                     # when the way there is free again
    under_way = {near: 0, far: 0}
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            under_way[to] -= 1
            try:
                os.write(to, packet)
            except OSError:
                pass                                                 # as any link whose end is full
        patience = max(0, waiting[0][0] - now) if waiting else 1
        readable, _, _ = select.select([near, far], [], [], patience)
        for end in readable:
            to = far if end == near else near
            for _ in range(64):
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                if under_way[to] >= buffer or loss and random.random() < loss:
                    continue
                now = time.monotonic()
                free[to] = max(free[to], now) + len(packet) / rate
                n += 1
                under_way[to] += 1
                heapq.heappush(waiting, (free[to] + delay, n, to, packet))


class Link:
    def __init__(self, delay_ms, loss_percent, rate):
        for namespace in (NEAR, FAR):
            subprocess.run(["ip", "netns", "del", namespace], stderr=subprocess.DEVNULL)
            run("ip", "netns", "add", namespace)
        near, far = tun_in(NEAR, NEAR_ADDRESS, FAR_ADDRESS), tun_in(FAR, FAR_ADDRESS, NEAR_ADDRESS)
        self.pid = os.fork()
        if self.pid == 0:
            os.nice(-10)
            carry(near, far, delay_ms / 2000, loss_percent / 100, rate)
        os.close(near)
        os.close(far)

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        for namespace in (NEAR, FAR):
            run("ip", "netns", "del", namespace)


def wait_for(what, patience=60):
    end = time.monotonic() + patience
    while not what():
        if time.monotonic() > end:
            raise RuntimeError("nothing comes")
        time.sleep(0.02)


def timed(cmd):
    began = time.monotonic()
    done = subprocess.run(within(FAR, cmd), capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"{cmd}: {done.stdout[-500:]} {done.stderr[-500:]}")
    return time.monotonic() - began, done.stdout


def nginx_curl(root, src, out, alone=False):
    """one file, or all of a list: by one curl that keeps its connection, or by one `alone` after the other"""
    files, outs = (src, out) if isinstance(src, list) else ([src], [out])
    d = root / "nginx"
    d.mkdir(exist_ok=True)
    if not (d / "key.pem").exists():
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2,
            "-subj", f"/CN={NEAR_ADDRESS}", "-keyout", d / "key.pem", "-out", d / "cert.pem")
        (d / "nginx.conf").write_text(f"""
daemon off; pid {d}/pid; error_log {d}/error.log; worker_processes 1; events {{}}
http {{ access_log off; sendfile on; server {{ listen {NEAR_ADDRESS}:8443 ssl; root {files[0].parent};
 ssl_certificate {d}/cert.pem; ssl_certificate_key {d}/key.pem; ssl_protocols TLSv1.3; }} }}""")
    p = subprocess.Popen(within(NEAR, ["nginx", "-p", d, "-c", d / "nginx.conf"]), stderr=subprocess.DEVNULL)
    try:
        wait_for((d / "pid").exists)
        wanted = [["-o", o, f"https://{NEAR_ADDRESS}:8443/{f.name}"] for f, o in zip(files, outs)]
        if alone:
            return sum(timed(["curl", "-sk"] + one)[0] for one in wanted)
        return timed(["curl", "-sk"] + [x for one in wanted for x in one])[0]
    finally:
        p.terminate()
        p.wait()


class Shoal:
    """two trackers and a seeder near, a member far, who is known since before"""

    def __init__(self, root, *files):
        self.root, self.procs = root / f"shoal{time.monotonic_ns()}", []
        self.root.mkdir()
        self.info = self.root / "tracker_info.txt"
        self.info.write_text(f"{NEAR_ADDRESS}:7000\n{NEAR_ADDRESS}:7001\n")
        for n in (1, 2):
            log = self.spawn(f"tracker{n}", [SHOAL_BIN / "tracker", self.info, n, "--data-dir", self.root / f"t{n}"])
            wait_for(lambda: b" ready on " in log.read_bytes())
        self.script(NEAR, "s", "create_user s password-s", "login s password-s", "create_group g")
        self.script(FAR, "l", "create_user l password-l", "login l password-l", "join_group g")
        self.script(NEAR, "s", "accept_request g l")
        seed = self.spawn("seeder", self.client(NEAR_ADDRESS, "s") + ["--stay"] + [x for f in files for x in ("-c", f"upload_file {f} g")])
        wait_for(lambda: seed.read_bytes().count(b'"ok":') == len(files))

    def spawn(self, name, cmd):
        log = self.root / f"{name}.log"
        self.procs.append(subprocess.Popen(within(NEAR, cmd), stdin=subprocess.DEVNULL, stdout=open(log, "wb"),
                                           stderr=subprocess.STDOUT))
        return log

    def client(self, address, name):
        return [SHOAL_BIN / "client", f"{address}:0", self.info, "--json", "--data-dir", self.root / name]

    def script(self, namespace, name, *lines):
        cmd = self.client(NEAR_ADDRESS if namespace == NEAR else FAR_ADDRESS, name)
        subprocess.run(within(namespace, cmd + [x for line in lines for x in ("-c", line)]), check=True, timeout=300,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def fetch(self, src, out):
        """seconds, the start of the program included"""
        return timed(self.client(FAR_ADDRESS, "l") + ["-c", f"download_file g {src.name} {out}"])[0]

    def running(self):
        """a member that has its connections to the trackers, and takes lines"""
        p = subprocess.Popen(within(FAR, self.client(FAR_ADDRESS, "l")), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True, bufsize=1)
        self.ask(p, "whoami")
        return p

    def ask(self, p, line):
        began = time.monotonic()
        p.stdin.write(line + "\n")
        said = p.stdout.readline()
        if not json.loads(said)["ok"]:
            raise RuntimeError(f"{line}: {said}")
        return time.monotonic() - began

    def fetch_running(self, files, outs):
        """seconds from the first line to the last answer, in a client that runs"""
        p = self.running()
        try:
            return sum(self.ask(p, f"download_file g {f.name} {o}") for f, o in zip(files, outs))
        finally:
            p.stdin.close()
            p.wait()

    def close(self):
        for p in self.procs:
            p.terminate()
        for p in self.procs:
            p.wait()


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def many(root, count, links, runs, rate):
    files = [root / f"file{n}.bin" for n in range(count)]
    outs = [root / f"out{n}.bin" for n in range(count)]
    for f in files:
        f.write_bytes(os.urandom(100 << 10))
    print(f"{'delay':>7} {'loss':>6} {'files':>5} {'curl s':>7} {'curls s':>8} {'shoal s':>8} {'/curl':>6} {'/curls':>6}")
    for delay, loss in links:
        link = Link(delay, loss, rate)
        took = []
        try:
            shoal = Shoal(root, *files)
            for _ in range(runs):
                ways = [lambda: nginx_curl(root, files, outs), lambda: nginx_curl(root, files, outs, alone=True),
                        lambda: shoal.fetch_running(files, outs)]
                seconds = []
                for way in ways:
                    seconds.append(way())
                    for f, o in zip(files, outs):
                        assert sha256(o) == sha256(f)
                        o.unlink()
                took.append(seconds)
            shoal.close()
        finally:
            link.close()
        one, alone, ours = map(statistics.median, zip(*took))
        print(f"{delay:5g}ms {loss:5g}% {count:5} {one:7.2f} {alone:8.2f} {ours:8.2f} {ours / one:6.2f} {ours / alone:6.2f}",
              flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--links", default="1:0,20:0,200:0,20:1,200:0.1", help="delay there and back in ms : loss in percent")
    ap.add_argument("--rate", type=float, default=25, help="MB/s each way")
    ap.add_argument("--seconds", type=float, default=15, help="about how long curl should take")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--size", type=int, help="MiB, instead of what curl takes about so long for")
    ap.add_argument("--files", type=int, help="so many of 100 KiB, one after the other, in a client that runs")
    a = ap.parse_args()
    root = Path(tempfile.mkdtemp(prefix="link"))
    os.chmod(root, 0o755)
    links = [[float(x) for x in link.split(":")] for link in a.links.split(",")]
    try:
        if a.files:
            return many(root, a.files, links, a.runs, a.rate * 1e6)
        print(f"{'delay':>7} {'loss':>6} {'MiB':>5} {'curl s':>7} {'shoal s':>8} {'running':>8} {'/curl':>6} {'running/curl':>12}")
        for delay, loss in links:
            src = root / f"data-{delay:g}-{loss:g}.bin"
            link = Link(delay, loss, a.rate * 1e6)
            curls, walls, running = [], [], []
            try:
                src.write_bytes(os.urandom(PROBE))
                reach = PROBE / nginx_curl(root, src, root / "out")
                size = max(PROBE, int(min(reach, a.rate * 1e6) * a.seconds) >> 20 << 20)
                size = a.size << 20 if a.size else size
                src.write_bytes(os.urandom(size))
                shoal = Shoal(root, src)
                for k in range(a.runs):
                    out = root / f"out{k}"
                    curls.append(nginx_curl(root, src, out))
                    assert sha256(out) == sha256(src)
                    out.unlink()
                    walls.append(shoal.fetch(src, out))
                    assert sha256(out) == sha256(src)
                    out.unlink()
                    running.append(shoal.fetch_running([src], [out]))
                    assert sha256(out) == sha256(src)
                    out.unlink()
                shoal.close()
            finally:
                link.close()
            src.unlink()
            curl, wall, warm = map(statistics.median, (curls, walls, running))
            print(f"{delay:5g}ms {loss:5g}% {size >> 20:5} {curl:7.2f} {wall:8.2f} {warm:8.2f} {wall / curl:6.2f} {warm / curl:12.2f}",
                  flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
