//! Where the server's log goes and how it looks.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use synod_server::{LogConfig, LogFormat, LogOutput};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Starts to log, for the whole process.
pub(super) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let level = &config.level;
    let filter =
        EnvFilter::try_new(level).with_context(|| format!("unrecognized level: {level:?}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let log = log.with_writer(Outputs::open(&config.outputs)?);
    let started = match config.format {
        LogFormat::Json => log.event_format(Zap).try_init(),
        LogFormat::Console => log.try_init(),
    };
    started.map_err(|error| anyhow!("cannot log: {error}"))
}

/// All places that a line goes to.
#[derive(Clone)]
struct Outputs(Arc<Mutex<Vec<Box<dyn Write + Send>>>>);

impl Outputs {
    fn open(outputs: &[LogOutput]) -> anyhow::Result<Self> {
        let mut all: Vec<Box<dyn Write + Send>> = Vec::new();
        for output in outputs {
            all.push(match output {
                LogOutput::Stderr => Box::new(io::stderr()),
                LogOutput::Stdout => Box::new(io::stdout()),
                LogOutput::File(path) => {
                    let file = OpenOptions::new().create(true).append(true).open(path);
                    let file = file.with_context(|| {
                        format!("--log-outputs: cannot write {}", path.display())
                    })?;
                    Box::new(file)
                }
            });
        }
        Ok(Self(Arc::new(Mutex::new(all))))
    }
}

impl<'a> MakeWriter<'a> for Outputs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Outputs {
    /// A place that fails must not keep the line from the others.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for output in self.0.lock().iter_mut() {
            let _ = output.write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        for output in self.0.lock().iter_mut() {
            let _ = output.flush();
        }
        Ok(())
    }
}

/// An object per line, with the names of etcd's: `level`, `ts`, `caller`, `msg`.
struct Zap;

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let caller = format!(
            "{}:{}",
            metadata.file().unwrap_or_else(|| metadata.target()),
            metadata.line().unwrap_or_default()
        );
        let level = metadata.level().as_str().to_lowercase();
        let head = [("level", level), ("ts", time), ("caller", caller), ("msg", fields.message)];
        for (before, (name, text)) in ["{", ",", ",", ","].iter().zip(head) {
            write!(writer, "{before}\"{name}\":{}", Value::from(text))?;
        }
        for (name, value) in fields.others {
            write!(writer, ",{}:{value}", Value::from(name))?;
        }
        writeln!(writer, "}}")
    }
}

/// The fields of an event; the message apart.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.insert(field.name().replace('_', "-"), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, Value::from(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::from(value));
    }
}
