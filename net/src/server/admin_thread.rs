//! The thread of the admin server: it listens, asks the cores for facts, and never holds one of them up.

use super::context::Context;
use super::mail::Mail;
use super::survey::Gathered;
use crate::admin::http::{self, Settings};
use crate::admin::{Command, Facts, Source, Unanswered};
use crate::four_letter::Effect;
use engine::partition::Manifest;
use engine::zxid::Zxid;
use hardware::mailbox::{MailError, MailSender};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use tuning::config::AdminConfig;
use tuning::{catalog, zoo_cfg};

/// How long the cores may take to gather what a command needs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two tries to hand over mail to a core whose mailbox is full.
const MAIL_PAUSE: Duration = Duration::from_millis(1);

/// The listener, and what only the start knows. Made before the cores run, since members write their configuration file
/// anew.
pub struct AdminPort {
    listener: TcpListener,
    initial_configuration: Option<Arc<str>>,
}

impl AdminPort {
    /// Opens the port; `None` if it is not wanted or cannot be had, of which a warning tells: clients can be served without
    /// it.
    pub fn open(context: &Context) -> Option<AdminPort> {
        let admin = &context.config.local.admin;
        if !admin.http_enabled {
            return None;
        }
        match listen(admin) {
            Ok(listener) => Some(AdminPort { listener, initial_configuration: initial_configuration(context) }),
            Err(problem) => {
                warn!(
                    "there is no admin server: cannot listen on {}:{}: {problem}; choose another port with \
                     admin.serverPort, or turn it off with admin.enableServer=false",
                    admin.http_address, admin.http_port
                );
                None
            }
        }
    }

    /// Starts the thread, once there are cores to ask. `None`, and a warning, if the system has no thread or no files for
    /// it.
    pub fn serve(self, context: &Arc<Context>, cores: Vec<MailSender<Mail>>) -> Option<AdminThread> {
        self.try_serve(context, cores).inspect_err(|problem| warn!("there is no admin server: {problem}")).ok()
    }

    fn try_serve(self, context: &Arc<Context>, cores: Vec<MailSender<Mail>>) -> io::Result<AdminThread> {
        let admin = &context.config.local.admin;
        let settings = Settings {
            command_url: admin.http_command_url.clone(),
            idle_timeout: (admin.http_idle_timeout_ms > 0)
                .then(|| Duration::from_millis(u64::from(admin.http_idle_timeout_ms))),
            auth: context.connection_limits.auth.clone(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address = self.listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        let source = Cores {
            properties: admin.properties.clone().into(),
            context: Arc::clone(context),
            initial_configuration: self.initial_configuration,
            cores,
        };
        info!("the admin server is on http://{address}{}", settings.command_url);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = http::serve(listener, settings, source) => match never {},
                    // Told, or dropped: the server ends.
                    _ = stopped => {}
                }
            });
            // A file that is being read must not hold up the end.
            runtime.shutdown_background();
        })?;
        Ok(AdminThread { stop, thread })
    }
}

/// The running thread.
pub struct AdminThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminThread {
    /// Ends it; who waits for an answer gets none.
    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

fn listen(admin: &AdminConfig) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((admin.http_address.as_str(), admin.http_port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The configuration file as it is at start, without its secrets.
fn initial_configuration(context: &Context) -> Option<Arc<str>> {
    let file = context.config.ensemble.config_file.as_ref()?;
    let bytes = std::fs::read(file)
        .inspect_err(|problem| warn!("the admin server cannot show {}: {problem}", file.display()))
        .ok()?;
    Some(zoo_cfg::without(&zoo_cfg::text_of(&bytes), catalog::is_secret).into())
}

/// The cores as a source of facts.
struct Cores {
    context: Arc<Context>,
    initial_configuration: Option<Arc<str>>,
    properties: Arc<[(String, String)]>,
    cores: Vec<MailSender<Mail>>,
}

impl Cores {
    /// Hands mail to a core; false if there is none any more.
    async fn send(&self, core: usize, mut mail: Mail) -> bool {
        loop {
            match self.cores[core].try_send(mail) {
                Ok(()) => return true,
                Err(MailError::Closed(_)) => return false,
                Err(MailError::Full(back)) => mail = back,
            }
            sleep(MAIL_PAUSE).await;
        }
    }

    async fn gather(&self, command: Command) -> Result<Gathered, Unanswered> {
        let (reply, answer) = oneshot::channel();
        if !self.send(0, Mail::Ask { needs: command.needs(), reply }).await {
            return Err(Unanswered::Stopping);
        }
        answer.await.map_err(|_| Unanswered::Stopping)
    }
}

impl Source for Cores {
    async fn facts(&self, command: Command) -> Result<Facts, Unanswered> {
        let gathered = timeout(PATIENCE, self.gather(command)).await.map_err(|_| Unanswered::Late)??;
        let last_checkpoint = match command {
            Command::LastSnapshot => {
                let context = Arc::clone(&self.context);
                tokio::task::spawn_blocking(move || last_checkpoint(&context)).await.ok().flatten()
            }
            _ => None,
        };
        Ok(Facts {
            snapshot: gathered.snapshot(&self.context, command.needs()),
            member: self.context.status.member_facts(),
            last_checkpoint,
            initial_configuration: self.initial_configuration.clone(),
            properties: Arc::clone(&self.properties),
        })
    }

    async fn carry_out(&self, effect: Effect) {
        if let Effect::SetTraceMask(mask) = effect {
            self.context.trace_mask.store(mask, Ordering::Relaxed);
            return;
        }
        for core in 0..self.cores.len() {
            self.send(core, Mail::Reset(effect)).await;
        }
    }
}

/// The zxid of the manifest, and when it was written.
fn last_checkpoint(context: &Context) -> Option<(Zxid, i64)> {
    let manifest = Manifest::decode(&std::fs::read(&context.manifest).ok()?).ok()?;
    let written = std::fs::metadata(&context.manifest).and_then(|meta| meta.modified()).ok()?;
    let seconds = written.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Some((manifest.zxid, i64::try_from(seconds).unwrap_or(i64::MAX)))
}
