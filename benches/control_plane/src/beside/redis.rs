//! Debian's redis-server and redis-benchmark over TLS 1.3: `SMEMBERS` of a set of twenty.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use harness::Process;

use crate::system::Meter;

const PATIENCE: Duration = Duration::from_secs(20);
/// Requests per second that it is first believed to answer.
const FIRST_GUESS: f64 = 10_000.0;
/// Members of the set, and bytes of each: about what a seeder takes in an answer of a tracker.
const MEMBERS: usize = 20;
const MEMBER_BYTES: usize = 48;

/// A running redis-server with such a set.
#[derive(Debug)]
pub(crate) struct Redis {
    process: Process,
    port: u16,
    certificate: PathBuf,
}

/// What redis-benchmark found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) p99: Duration,
    /// Processor time of the server for one request.
    pub(crate) cpu: Duration,
}

impl Redis {
    /// Starts one in `dir`; `None` where redis is not installed, or was built without TLS.
    pub(crate) fn start(dir: &Path) -> Option<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).ok()?;
        let (certificate, key) = (dir.join("redis.pem"), dir.join("redis.key"));
        fs::write(&certificate, made.cert.pem()).ok()?;
        fs::write(&key, made.signing_key.serialize_pem()).ok()?;
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        Command::new("redis-server").arg("--version").output().ok()?;
        let mut command = Command::new("redis-server");
        command.current_dir(dir).args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--tls-port", &port.to_string(), "--tls-auth-clients", "no", "--tls-protocols", "TLSv1.3"]);
        command.arg("--tls-cert-file").arg(&certificate).arg("--tls-key-file").arg(&key);
        command.arg("--tls-ca-cert-file").arg(&certificate);
        let process = Process::start(&mut command);
        process.stdout.wait_for(PATIENCE, |line| line.contains("eady to accept").then_some(()))?;
        let redis = Self { process, port, certificate };
        let members: Vec<String> = (0..MEMBERS).map(|n| format!("{n:0MEMBER_BYTES$}")).collect();
        let added = redis.command("redis-cli").args(["SADD", "seeders"]).args(members).output().ok()?;
        (String::from_utf8_lossy(&added.stdout).trim() == MEMBERS.to_string()).then_some(redis)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "--tls", "--cacert"]).arg(&self.certificate);
        command
    }

    /// `SMEMBERS` from so many connections, each after its answer, for about `time`.
    pub(crate) fn smembers(&self, connections: usize, time: Duration) -> Rate {
        // It is told how many requests, and not how long: the second run is as long as the first one says.
        let first = self.run(connections, (FIRST_GUESS * time.as_secs_f64()) as u64);
        let requests = (first.per_second * time.as_secs_f64()) as u64;
        self.run(connections, requests.max(1000))
    }

    fn run(&self, connections: usize, requests: u64) -> Rate {
        let meter = Meter::start(&[self.process.id()]);
        let began = Instant::now();
        let mut command = self.command("redis-benchmark");
        command.args(["-c", &connections.to_string(), "-n", &requests.to_string(), "--csv", "SMEMBERS", "seeders"]);
        let output = command.output().expect("redis-benchmark");
        let used = meter.stop();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // "test","rps","avg_latency_ms","min","p50","p95","p99","max", all quoted; the test's name may have commas.
        let line =
            text.lines().find(|l| l.starts_with("\"SMEMBERS")).unwrap_or_else(|| panic!("redis-benchmark: {text}"));
        let fields: Vec<&str> = line.split('"').filter(|f| !f.trim_matches(',').is_empty()).collect();
        let number = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
        let took = began.elapsed().as_secs_f64();
        let per_second = if number(1) > 0.0 { number(1) } else { requests as f64 / took };
        Rate { per_second, p99: Duration::from_secs_f64(number(6) / 1e3), cpu: used.cpu.div_f64(requests as f64) }
    }
}
