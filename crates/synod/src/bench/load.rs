//! The closed loop.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use synod_etcd::Refusal;
use synod_etcd::proto::etcdserverpb::auth_client::AuthClient;
use synod_etcd::proto::etcdserverpb::kv_client::KvClient;
use synod_etcd::proto::etcdserverpb::{AuthenticateRequest, PutRequest, RangeRequest};
use tokio::task::LocalSet;
use tokio::time::{interval, timeout};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::bench::LoadArgs;
use crate::bench::processes;
use crate::bench::report::Report;
use crate::client;

/// The longest latency told apart from longer ones.
const LATENCY_US_MAX: u64 = 60_000_000;

/// How many clients write the keys that are to be read.
const FILL_CLIENTS: u32 = 32;

/// How often the progress bar moves.
const BAR_INTERVAL: Duration = Duration::from_millis(200);

/// What every client does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    Put,
    Get { serializable: bool },
    Login,
}

/// When the clients stop.
#[derive(Clone, Copy, Debug)]
enum Until {
    Total(u64),
    Time(Instant),
}

/// What all clients share. They run on one thread, so it needs no locks.
struct Load {
    operation: Operation,
    args: LoadArgs,
    value: Bytes,
    until: Until,
    /// How many requests were begun.
    begun: Cell<u64>,
    /// How many were answered, well or not.
    ended: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    latency_us: RefCell<Histogram<u64>>,
}

/// Measures, after writing the keys if they are to be read.
pub(super) async fn run(operation: Operation, args: &LoadArgs) -> anyhow::Result<Report> {
    let askers = connect(args).await?;
    if matches!(operation, Operation::Get { .. }) {
        let fill =
            LoadArgs { clients: FILL_CLIENTS, total: args.keys, duration: None, ..args.clone() };
        drive(Load::new(Operation::Put, fill)?, &askers, "writing the keys").await;
    }
    let cpu_before = processes::cpu_time(&args.server_pids)?;
    let load = Load::new(operation, args.clone())?;
    let start = Instant::now();
    let load = drive(load, &askers, "measuring").await;
    let elapsed = start.elapsed();
    let cpu_after = processes::cpu_time(&args.server_pids)?;
    let server_cpu = cpu_after.zip(cpu_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Report {
        operation,
        clients: args.clients,
        elapsed,
        latency_us: load.latency_us.borrow().clone(),
        errors: load.errors.get(),
        first_error: load.first_error.borrow().clone(),
        server_cpu,
    })
}

/// A connection to an endpoint, and who asks.
#[derive(Clone)]
struct Asker {
    kv: KvClient<Channel>,
    auth: AuthClient<Channel>,
    login: AuthenticateRequest,
    token: Option<AsciiMetadataValue>,
}

/// One connection to each endpoint, signed in if there is somebody to sign in.
async fn connect(args: &LoadArgs) -> anyhow::Result<Vec<Asker>> {
    let client = client::connect(&args.client).await?;
    let mut askers = Vec::new();
    let user = client::user(&args.client)?;
    for (endpoint, channel) in client.endpoints().zip(client.channels()) {
        // Who does not answer is told of here, once, and not by every request.
        client::status(&client.only(endpoint)?).await.with_context(|| endpoint.to_owned())?;
        let (kv, auth) = (KvClient::new(channel.clone()), AuthClient::new(channel));
        let mut asker = Asker { kv, auth, login: AuthenticateRequest::default(), token: None };
        if let Some((name, password)) = user.clone() {
            asker.login = AuthenticateRequest { name, password };
            let answer = asker.auth.authenticate(asker.login.clone()).await;
            let token = answer.with_context(|| format!("signing in at {endpoint}"))?.into_inner();
            asker.token = Some(token.token.parse().context("a token is text")?);
        }
        askers.push(asker);
    }
    Ok(askers)
}

impl Asker {
    /// The request, with the token.
    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }
}

/// Runs all clients to their end, under a progress bar.
async fn drive(load: Load, askers: &[Asker], doing: &'static str) -> Rc<Load> {
    let load = Rc::new(load);
    let clients = LocalSet::new();
    for (_, asker) in (0..load.args.clients).zip(askers.iter().cycle()) {
        clients.spawn_local(ask_again_and_again(Rc::clone(&load), asker.clone()));
    }
    let bar = bar(&load, doing);
    let mut ticks = interval(BAR_INTERVAL);
    tokio::pin!(clients);
    loop {
        tokio::select! {
            () = &mut clients => break,
            _ = ticks.tick() => bar.set_position(load.progress()),
        }
    }
    bar.finish_and_clear();
    load
}

fn bar(load: &Load, doing: &'static str) -> ProgressBar {
    let (len, form) = match load.until {
        Until::Total(total) => (total, "{msg} {wide_bar} {pos}/{len} {per_sec}, {eta} left"),
        Until::Time(_) => {
            let millis = load.args.duration.map_or(0, |duration| duration.as_millis());
            (u64::try_from(millis).unwrap_or(u64::MAX), "{msg} {wide_bar} {percent} %, {eta} left")
        }
    };
    let style = ProgressStyle::with_template(form).expect("the form of the bar is right");
    ProgressBar::new(len).with_style(style).with_message(doing)
}

async fn ask_again_and_again(load: Rc<Load>, mut asker: Asker) {
    while let Some(at) = load.begin() {
        let start = Instant::now();
        let asked = timeout(load.args.client.timeout, load.ask(&mut asker, at)).await;
        let outcome = match asked {
            Ok(Ok(())) => Ok(start.elapsed()),
            Ok(Err(status)) => Err(Refusal::from_status(&status).to_string()),
            Err(_) => Err(format!("no answer within {:?}", load.args.client.timeout)),
        };
        let failed = outcome.is_err();
        load.end(outcome);
        if failed {
            // A member that refuses at once must not turn the loop into a flood.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Load {
    fn new(operation: Operation, args: LoadArgs) -> anyhow::Result<Self> {
        Ok(Self {
            operation,
            value: Bytes::from(vec![b'v'; args.value_size]),
            until: match args.duration {
                Some(duration) => Until::Time(Instant::now() + duration),
                None => Until::Total(args.total),
            },
            args,
            begun: Cell::new(0),
            ended: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            latency_us: RefCell::new(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?),
        })
    }

    /// The number of the next request; none if there is to be no more.
    fn begin(&self) -> Option<u64> {
        let at = self.begun.get();
        let more = match self.until {
            Until::Total(total) => at < total,
            Until::Time(end) => Instant::now() < end,
        };
        more.then(|| self.begun.replace(at + 1))
    }

    async fn ask(&self, asker: &mut Asker, at: u64) -> Result<(), Status> {
        let key = Bytes::from(format!("{}{:010}", self.args.key_prefix, at % self.args.keys));
        match self.operation {
            Operation::Put => {
                let put = PutRequest { key, value: self.value.clone(), ..PutRequest::default() };
                let put = asker.signed(put);
                asker.kv.put(put).await.map(drop)
            }
            Operation::Get { serializable } => {
                let range = RangeRequest { key, serializable, ..RangeRequest::default() };
                let range = asker.signed(range);
                asker.kv.range(range).await.map(drop)
            }
            Operation::Login => asker.auth.authenticate(asker.login.clone()).await.map(drop),
        }
    }

    fn end(&self, outcome: Result<Duration, String>) {
        self.ended.set(self.ended.get() + 1);
        match outcome {
            Ok(latency) => {
                let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
                self.latency_us.borrow_mut().saturating_record(us);
            }
            Err(error) => {
                self.errors.set(self.errors.get() + 1);
                self.first_error.borrow_mut().get_or_insert(error);
            }
        }
    }

    /// How far it is, in the unit of its bar.
    fn progress(&self) -> u64 {
        match self.until {
            Until::Total(_) => self.ended.get(),
            Until::Time(end) => {
                let left = end.saturating_duration_since(Instant::now());
                let gone = self.args.duration.unwrap_or_default().saturating_sub(left);
                u64::try_from(gone.as_millis()).unwrap_or(u64::MAX)
            }
        }
    }
}
