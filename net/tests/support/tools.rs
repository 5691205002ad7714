//! The foreign clients: kazoo in a Python environment of its own, Apache's Java client and Curator from Debian's jars.
//!
//! They are set up once per build directory, in `target/interop`.

use super::server::{class_path, server_jars};
use super::{is_before_3_9, skip, try_wait_for};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

const KAZOO: &str = "kazoo==2.11.0";

/// Jars beside the server's own that Curator needs.
const CURATOR_JARS: [&str; 7] = [
    "curator-client",
    "curator-framework",
    "curator-recipes",
    "guava",
    "jackson-core",
    "jackson-databind",
    "jackson-annotations",
];

/// The longest that one foreign script may run.
const SCRIPT_LIMIT: Duration = Duration::from_secs(420);

/// Runs one unittest module of `net/tests/kazoo` against the server, once per build directory setting kazoo up.
pub fn run_kazoo(module: &str, environment: &[(&str, &str)]) {
    run_kazoo_here(module, environment, &mut || {});
}

/// The same; while it runs, `meanwhile` is called again and again.
pub fn run_kazoo_here(module: &str, environment: &[(&str, &str)], meanwhile: &mut dyn FnMut()) {
    let python = match kazoo_python() {
        Ok(python) => python,
        Err(why) => return skip(&why),
    };
    let mut command = Command::new(python);
    command.args(["-X", "faulthandler", "-m", "unittest", "-v", module]);
    command.current_dir(tests_directory().join("kazoo"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("RINGKEEPER_TEST_BEFORE_3_9", if is_before_3_9() { "true" } else { "false" });
    command.envs(environment.iter().copied());
    run_to_end(&format!("kazoo/{module}.py"), command, meanwhile);
}

/// Runs one main class of `net/tests/java`, once per run of the tests compiling all of them.
pub fn run_java(class: &str, arguments: &[&str]) {
    let classes = match java_classes() {
        Ok(classes) => classes,
        Err(why) => return skip(&why),
    };
    let mut command = Command::new("java");
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error");
    command.arg("-cp").arg(format!("{}:{}", classes.display(), client_class_path()));
    command.arg(class).args(arguments);
    run_to_end(&format!("java/{class}.java"), command, &mut || {});
}

/// Whether Apache ZooKeeper can be started; if not, the skip is said.
pub fn has_java() -> bool {
    let missing = class_path(server_jars()).split(':').find(|jar| !Path::new(jar).exists()).map(str::to_owned);
    if let Some(jar) = &missing {
        skip(&format!("{jar} is missing (Debian package libzookeeper-java)"));
        return false;
    }
    let runs = is_good(Command::new("java").arg("-version"));
    if !runs {
        skip("no java (Debian package default-jre-headless)");
    }
    runs
}

/// Major and minor number of the Apache ZooKeeper that the jars are.
pub fn reference_release() -> (u32, u32) {
    let mut command = Command::new("java");
    command.args(["-cp", &class_path(server_jars()), "org.apache.zookeeper.version.VersionInfoMain"]);
    let told = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let numbers = told.split("version ").nth(1).map(|release| release.split('.').map_while(|n| n.parse().ok()));
    match numbers.map(|numbers| numbers.collect::<Vec<u32>>()).as_deref() {
        Some([major, minor, ..]) => (*major, *minor),
        _ => panic!("which release is this: {told:?}"),
    }
}

/// `net/tests`.
pub fn tests_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn run_to_end(name: &str, mut command: Command, meanwhile: &mut dyn FnMut()) {
    let output = interop_directory().join(format!("{}-{}.out", name.replace('/', "-"), unique()));
    let file = File::create(&output).unwrap();
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    let ended = try_wait_for(SCRIPT_LIMIT, || {
        meanwhile();
        child.try_wait().unwrap()
    });
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let text = String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
    fs::remove_file(&output).unwrap();
    println!("--- {name}\n{text}");
    let ended = ended.unwrap_or_else(|| panic!("{name} does not come to an end"));
    assert!(ended.success(), "{name} failed: {ended}");
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// `target/interop`, beside the profile's directory that holds the test program.
fn interop_directory() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let profile = executable.ancestors().find(|path| path.ends_with("deps")).and_then(Path::parent);
    let target = profile.and_then(Path::parent).unwrap_or_else(|| executable.parent().unwrap());
    let directory = target.join("interop");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// One test of this process sets up while the others wait; other processes are kept out by a lock file.
static SETTING_UP: Mutex<()> = Mutex::new(());

fn exclusively<T>(directory: &Path, work: impl FnOnce() -> T) -> T {
    let _here = SETTING_UP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let lock = File::create(directory.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    work()
}

fn kazoo_python() -> Result<PathBuf, String> {
    let directory = interop_directory();
    let python = directory.join("venv/bin/python");
    exclusively(&directory, || {
        if is_good(Command::new(&python).args(["-c", "import kazoo"])) {
            return Ok(());
        }
        let venv = directory.join("venv");
        quiet(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        quiet(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", KAZOO]))
    })?;
    Ok(python)
}

fn client_class_path() -> String {
    format!("{}:{}", class_path(server_jars()), class_path(&CURATOR_JARS))
}

fn java_classes() -> Result<PathBuf, String> {
    let missing = client_class_path().split(':').find(|jar| !Path::new(jar).exists()).map(str::to_owned);
    if let Some(jar) = missing {
        return Err(format!("{jar} is missing (Debian packages libzookeeper-java and libcurator-recipes-java)"));
    }
    let mut sources: Vec<PathBuf> =
        fs::read_dir(tests_directory().join("java")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "java"));
    sources.sort();
    let directory = interop_directory();
    let classes = directory.join("classes");
    exclusively(&directory, || {
        let newest = |paths: &[PathBuf]| {
            paths.iter().filter_map(|path| fs::metadata(path).and_then(|facts| facts.modified()).ok()).max()
        };
        let stamp = classes.join("compiled");
        if newest(std::slice::from_ref(&stamp)) > newest(&sources) {
            return Ok(());
        }
        let _ = fs::remove_dir_all(&classes);
        fs::create_dir_all(&classes).unwrap();
        if !is_good(Command::new("javac").arg("-version")) {
            return Err("no javac (Debian package default-jdk-headless)".to_owned());
        }
        let mut compiler = Command::new("javac");
        compiler.args(["-nowarn", "-proc:none", "-cp", &client_class_path()]);
        compiler.arg("-d").arg(&classes).args(&sources);
        quiet(&mut compiler).unwrap_or_else(|complaints| panic!("{complaints}"));
        fs::write(stamp, "").map_err(|error| error.to_string())
    })?;
    Ok(classes)
}

fn is_good(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}\n{text}", output.status))
}
