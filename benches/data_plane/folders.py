#!/usr/bin/env python3
"""Time how fast packaged systems, and Shoal, move a tree of many files over loopback.

  ./folders.py --systems rsync,syncthing,rqbit,shoal --trees 10k,200k --runs 3 [--fresh] [--json out.jsonl]

Trees: 10k = 10,000 files of 1 to 64 KiB; 200k = 200,000 files of 0 to 4 KiB; random bytes, 100 files to a folder, 100 folders to
a folder.  publish: from the command until others can fetch (rsync serves what is there: none).  download: from the
command until the receiver has everything (its own verification included); each copy is compared afterwards, file by
file.  RSS: peak anonymous memory of sender and receiver, MiB.  Everything as data_plane.py does it.
"""
import argparse, hashlib, json, os, random, shutil, statistics, subprocess, sys, tempfile, time
from pathlib import Path

import data_plane as dp

TREES = {"10k": (10_000, 1 << 10, 64 << 10), "200k": (200_000, 0, 4 << 10)}


def make_tree(root, spec):
    count, low, high = TREES[spec]
    rng = random.Random(spec)
    noise = random.Random(7).randbytes((1 << 20) + high)
    for n in range(count):
        d = root / f"{n // 10_000:03}" / f"{n // 100 % 100:02}"
        if n % 100 == 0:
            d.mkdir(parents=True)
        at = rng.randrange(1 << 20)
        (d / f"file-{n}.dat").write_bytes(noise[at:at + rng.randint(low, high)])


def digest(root):
    out = hashlib.sha256()
    for d, dirs, files in os.walk(root):
        dirs.sort()
        for f in sorted(files):
            p = Path(d) / f
            if p.name.startswith(".st"):
                continue
            out.update(str(p.relative_to(root)).encode() + b"\0" + hashlib.sha256(p.read_bytes()).digest())
    return out.hexdigest()


class Run(dp.Run):
    """one run of one system: r.src is the tree"""

    def __init__(self, src, root):
        super().__init__(src, 0, None, None, 1, root)
        self.publish = 0.0
        self.sender_anon = 0

    def out(self):
        return self.dir / "out"

    def copy(self):
        """where the tree lies; rqbit puts it below its name"""
        below = self.out() / "tree"
        return below if below.is_dir() else self.out()


def rsync(r):
    n = dp.port()
    c = r.dir / "rsyncd.conf"
    c.write_text(f"use chroot = no\nuid = root\ngid = root\nread only = yes\n[m]\npath = {r.src}\n")
    r.server(["rsync", "--daemon", "--no-detach", f"--config={c}", f"--port={n}", "--address=127.0.0.2"])
    dp.wait_port("127.0.0.2", n)
    r.begin()
    r.recv(["rsync", "-r", f"rsync://127.0.0.2:{n}/m/", f"{r.out()}/"], r.out())
    r.wait()


def shoal(r):
    info = r.dir / "tracker_info.txt"
    info.write_text("".join(f"127.0.0.1:{dp.port()}\n" for _ in (1, 2)))
    for i in (1, 2):
        t = r.server([dp.SHOAL_BIN / "tracker", info, str(i), "--data-dir", r.dir / f"tracker{i}"])
        dp.wait_for(lambda: b" ready on " in t.log.read_bytes(), what=f"tracker {i} {dp.tail(t.log)}", step=0.02)
    a, b = (dp.Shoal(r, info, n, ip) for n, ip in (("a", "127.0.0.2"), ("b", "127.0.0.12")))
    a.account()
    b.account()
    a.script("create_group g")
    b.script("join_group g")
    a.script("accept_request g b")
    t0 = time.monotonic()
    a.seed(f"upload_file {r.src} g --name tree")
    r.publish = time.monotonic() - t0
    r.begin()
    r.recv(b.cmd + ["-c", f"download_file g tree {r.out()}"], r.out())
    r.wait()


def rqbit(r):
    src = r.dir / "tree"
    src.symlink_to(r.src)
    tor = r.dir / "t.torrent"
    t0 = time.monotonic()
    subprocess.run(["mktorrent", "-p", "-l", "18", "-n", "tree", "-o", str(tor), str(r.src)], check=True,
                   capture_output=True)
    p, api = dp.port(), dp.port()
    s = r.server(dp.rqbit_cmd("127.0.0.2", p, "--http-api-listen-addr", f"127.0.0.1:{api}", "server", "start",
                              "--disable-persistence", r.dir))
    dp.wait_port("127.0.0.1", api)
    dp.http(f"http://127.0.0.1:{api}/torrents?overwrite=true&output_folder={r.src}", tor.read_bytes(), timeout=600)
    dp.wait_for(lambda: json.loads(dp.http(f"http://127.0.0.1:{api}/torrents/0/stats/v1"))["finished"], timeout=900,
                what="rqbit seeder check", step=0.05)
    r.publish = time.monotonic() - t0
    r.begin()
    r.recv(dp.rqbit_cmd("127.0.0.12", dp.port(), "download", "-e", "--disable-http-api", "--initial-peers",
                        f"127.0.0.2:{p}", "-o", r.out(), tor), r.out())
    r.wait()


def syncthing(r):
    import xml.etree.ElementTree as ET
    sides = []
    for i, ip in ((0, "127.0.0.2"), (1, "127.0.0.12")):
        h = r.dir / f"st{i}"
        subprocess.run(["syncthing", "generate", f"--home={h}", "--no-default-folder"], check=True, capture_output=True)
        did = subprocess.run(["syncthing", "--home", h, "--device-id"], check=True, capture_output=True,
                             text=True).stdout.strip()
        sides.append(dict(h=h, id=did, addr=f"{ip}:{dp.port()}", gui=f"127.0.0.1:{dp.port()}"))
    a, b = sides
    copy = r.dir / "src"
    shutil.copytree(r.src, copy, copy_function=os.link)
    r.out().mkdir()

    def api(me, path, data=None, method=None):
        x = dp.http(f"http://{me['gui']}/rest/{path}", data, {"X-API-Key": me["key"]}, method=method)
        return json.loads(x) if x.strip() else None

    def start(me, other, path, kind):
        f = me["h"] / "config.xml"
        t = ET.parse(f)
        root = t.getroot()
        o = root.find("options")
        for k, v in dict(listenAddress=f"tcp://{me['addr']}", globalAnnounceEnabled="false", natEnabled="false",
                         localAnnounceEnabled="false", relaysEnabled="false", urAccepted="-1", crashReportingEnabled="false",
                         startBrowser="false").items():
            for e in o.findall(k):
                o.remove(e)
            ET.SubElement(o, k).text = v
        g = root.find("gui")
        g.find("address").text = me["gui"]
        me["key"] = g.find("apikey").text
        for d in root.findall("device"):
            root.remove(d)
        for x in (me, other):
            d = ET.SubElement(root, "device", id=x["id"], name=x["id"][:5], compression="never")
            ET.SubElement(d, "address").text = f"tcp://{x['addr']}"
        if path:
            fo = ET.SubElement(root, "folder", id="f", label="f", path=str(path), type=kind, rescanIntervalS="0",
                               fsWatcherEnabled="false")
            for x in (me, other):
                ET.SubElement(fo, "device", id=x["id"])
        t.write(f)
        me["p"] = r.server(["syncthing", "serve", "--no-browser", "--no-upgrade", "--no-restart", f"--home={me['h']}"],
                           env=dict(os.environ, STNORESTART="1", HOME=str(me["h"])))
        dp.wait_for(lambda: up(me), what="syncthing api " + dp.tail(me["p"].log))

    def up(me):
        try:
            return api(me, "system/ping")
        except OSError:
            return False

    t0 = time.monotonic()
    start(a, b, copy, "sendonly")
    dp.wait_for(lambda: api(a, "db/status?folder=f")["state"] == "idle" and
                api(a, "db/status?folder=f")["globalFiles"] == r.count, what="syncthing scan", timeout=900)
    r.publish = time.monotonic() - t0
    r.begin()
    start(b, a, r.out(), "receiveonly")

    def done():
        try:
            s = api(b, "db/status?folder=f")
        except OSError:
            return False
        return s["globalFiles"] == r.count and s["needTotalItems"] == 0 and s["state"] == "idle"
    p = b["p"]
    r.cpu0[p.pid] = 0
    r.recv_daemon(p, r.out(), done)
    r.wait(timeout=1800)


SYSTEMS = dict(rsync=rsync, shoal=shoal, rqbit=rqbit, syncthing=syncthing)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--systems", default="rsync,shoal")
    ap.add_argument("--trees", default="10k,200k")
    ap.add_argument("--runs", type=int, default=3)
    ap.add_argument("--dir", default=None, help="scratch; default a fresh temporary directory")
    ap.add_argument("--fresh", action="store_true",
                    help="before each run, have the kernel forget the files of those before it, and read the tree (root)")
    ap.add_argument("--json")
    a = ap.parse_args()
    root = Path(tempfile.mkdtemp(prefix="folders", dir=a.dir))
    rows = {}
    try:
        for spec in a.trees.split(","):
            tree = root / f"tree-{spec}"
            tree.mkdir()
            make_tree(tree, spec)
            want = digest(tree)
            for run in range(a.runs):
                for name in a.systems.split(","):
                    if a.fresh:
                        os.sync()
                        Path("/proc/sys/vm/drop_caches").write_text("3")
                        digest(tree)
                    r = Run(tree, root)
                    r.count = TREES[spec][0]
                    try:
                        SYSTEMS[name](r)
                        r.sender_anon = max([dp.mem(p.pid, True)[1] for p in r.servers if p.poll() is None] or [0])
                        if digest(r.copy()) != want:
                            raise RuntimeError("the copy differs")
                        row = dict(tree=spec, system=name, publish=r.publish, download=r.wall, cpu=r.cpu,
                                   receiver_anon=r.panon, sender_anon=r.sender_anon)
                        rows.setdefault((spec, name), []).append(row)
                        print(json.dumps({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}),
                              flush=True)
                        if a.json:
                            with open(a.json, "a") as f:
                                f.write(json.dumps(row) + "\n")
                    except Exception as e:
                        print(f"{spec} {name}: {e}", file=sys.stderr, flush=True)
                    finally:
                        r.close()
        for (spec, name), all_ in rows.items():
            med = {k: statistics.median(x[k] for x in all_) for k in ("publish", "download", "cpu", "receiver_anon",
                                                                     "sender_anon")}
            print(f"{spec:5} {name:10} publish {med['publish']:6.2f} s  download {med['download']:6.2f} s  "
                  f"CPU {med['cpu']:6.2f} s  anon {med['receiver_anon']:6.1f} / {med['sender_anon']:6.1f} MiB")
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
