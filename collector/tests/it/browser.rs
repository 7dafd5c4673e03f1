//! The dashboard in a real browser: Chromium, told what to do over a pipe by its DevTools protocol.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    simulated::Simulated,
    support::{TINY, agent, command, has, run, skip},
    web::Served,
};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page. It is gone with the test.
struct Browser {
    _folder: TempDir,
    child: Child,
    to: File,
    from: mpsc::Receiver<Value>,
    session: String,
    last: u64,
    complaints: Vec<String>,
}

impl Browser {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [to, from] = ["to", "from"].map(|name| folder.path().join(name));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        let mut program = Command::new("sh");
        // The protocol's pipes are the files 3 and 4.
        program.args(["-c", "exec chromium \"$@\" 3<to 4>from", "sh"]).current_dir(&folder);
        program.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]);
        program.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        program.env("HOME", folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = program.process_group(0).spawn().unwrap();
        let to = OpenOptions::new().write(true).open(to).unwrap();
        let said = BufReader::new(File::open(from).unwrap());
        let (sender, from) = mpsc::channel();
        thread::spawn(move || {
            for message in said.split(0).map_while(Result::ok) {
                let _ = sender.send(serde_json::from_slice(&message).unwrap());
            }
        });
        let session = String::new();
        let complaints = Vec::new();
        let mut browser = Self { _folder: folder, child, to, from, session, last: 0, complaints };
        let page = browser.tell("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let attached = browser.tell("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Has the browser do something, and waits for its answer.
    fn tell(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let said = self.from.recv_timeout(PATIENCE).unwrap();
            if said["id"] == self.last {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
            self.hear(&said);
        }
    }

    /// Takes down what the page complains of.
    fn hear(&mut self, said: &Value) {
        let params = &said["params"];
        let is_error = match said["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => params["type"] == "error",
            "Log.entryAdded" => params["entry"]["level"] == "error",
            _ => false,
        };
        if is_error {
            self.complaints.push(params.to_string());
        }
    }

    /// What an expression is on the page.
    fn evaluate(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.tell("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true on the page.
    fn until(&mut self, expression: &str) {
        let begin = Instant::now();
        while self.evaluate(expression) != true {
            assert!(begin.elapsed() < PATIENCE, "never: {expression}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Goes to a page, and waits until it is there.
    fn go(&mut self, address: SocketAddr, path: &str) {
        let gone = self.tell("Page.navigate", json!({ "url": format!("http://{address}{path}") }));
        assert!(gone["errorText"].is_null(), "{path}: {gone}");
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({selector:?})?.innerText ?? ''"));
        text.as_str().unwrap().to_owned()
    }

    fn width(&mut self, width: u32, height: u32) {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.tell("Emulation.setDeviceMetricsOverride", params);
    }

    fn scheme(&mut self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.tell("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
    }

    /// A picture of what is seen, as PNG.
    fn picture(&mut self) -> Vec<u8> {
        let picture = self.tell("Page.captureScreenshot", json!({ "format": "png" }));
        STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()
    }

    fn complains_of_nothing(&mut self) {
        self.evaluate("1");
        assert_eq!(self.complaints, [""; 0]);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It has children.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Every page, with something that it must say of the fleet that does not exist.
const PAGES: [(&str, &str); 12] = [
    ("/", "Runs arriving"),
    ("/report", "amd-epyc-7b13-2c1t-vm-8g"),
    ("/report?label=role%3Dweb&scenario=waiting&by=kernel", "kernel"),
    ("/compare", "Say what to compare"),
    (
        "/compare?side=kernel%3D6.1.0-40-amd64&side=kernel%3D6.12.41-cloud-amd64&label=role%3Ddb",
        "12% slower",
    ),
    ("/advise", "waiting"),
    ("/outliers", "web-07"),
    ("/history?host=api-00&spawner=tokio", "1.55"),
    ("/history?label=role%3Ddb", "6.12.41"),
    ("/host", "web-07"),
    ("/host?host=web-07", "slow"),
    ("/runs", "came"),
];

fn missing() -> bool {
    let missing = !has("chromium");
    if missing {
        skip("chromium", true);
    }
    missing
}

#[test]
fn every_page_is_there_fits_a_telephone_and_is_dark_at_night() {
    if missing() {
        return;
    }
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let mut browser = Browser::start();
    for (path, says) in PAGES {
        browser.scheme("light");
        browser.width(1_000, 800);
        browser.go(served.address, path);
        let text = browser.text("body");
        assert!(text.contains(says), "{path}: {text}");
        browser.until("document.getElementById('live').textContent === 'live'");
        let wide = browser.evaluate("document.scrollingElement.scrollWidth <= innerWidth");
        assert_eq!(wide, true, "{path}");
        let background = "getComputedStyle(document.body).backgroundColor";
        assert_eq!(browser.evaluate(background), "rgb(255, 255, 255)", "{path}");

        browser.width(320, 640);
        let [wide, room] = ["document.scrollingElement.scrollWidth", "innerWidth"]
            .map(|it| browser.evaluate(it).as_u64().unwrap());
        assert_eq!(room, 320, "{path}");
        assert!(wide <= room, "{path} is {wide} wide");
        browser.scheme("dark");
        assert_eq!(browser.evaluate(background), "rgb(20, 23, 27)", "{path}");
        browser.complains_of_nothing();
    }
}

#[test]
fn a_link_leads_to_the_numbers_that_the_command_prints() {
    if missing() {
        return;
    }
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let mut browser = Browser::start();
    browser.go(served.address, "/");
    let view = simulated.asks(&["report", "-f", "json"]).json();
    let profiles = view["profiles"].as_array().unwrap();
    let profile = profiles.iter().find(|it| it["suspect_runs"] == 0).unwrap();
    let (id, name) = (profile["id"].as_str().unwrap(), profile["name"].as_str().unwrap());
    browser.evaluate(&format!(
        "[...document.querySelectorAll('section[aria-labelledby=groups] a')].find(a => a.textContent.includes({id:?})).click()"
    ));
    browser.until("location.pathname === '/report' && document.readyState === 'complete'");
    assert_eq!(browser.evaluate("location.search"), format!("?profile={id}"));
    let page = browser.text("#page");
    assert!(page.contains(name), "{page}");
    let said = simulated.asks(&["report", "--profile", id, "-f", "markdown"]).stdout;
    let cells = profile["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 11);
    // The table of the command and that of the page have the same words.
    let words = browser.evaluate(
        "[...document.querySelectorAll('#page td, #page th')].map(it => it.textContent.trim())",
    );
    let words: Vec<&str> = words.as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let rows = said.lines().filter(|line| line.starts_with("| "));
    let numbers = rows.flat_map(|line| line.trim_matches('|').split('|')).map(str::trim);
    let mut compared = 0;
    for number in numbers.filter(|it| it.ends_with(" ms") || it.ends_with(" µs")) {
        assert!(words.contains(&number), "{number}: {words:?}");
        compared += 1;
    }
    assert!(compared >= 22, "medians and intervals of eleven cells: {said}");
    let command = browser.text("footer code");
    assert_eq!(command, format!("fleetmark-collector report --profile {id}"));

    // And a form, which is a link that somebody writes.
    browser.go(served.address, "/compare");
    browser.evaluate(
        "(() => { const [a, b] = document.querySelectorAll('input[name=side]'); \
         a.value = 'kernel=6.1.0-40-amd64'; b.value = 'kernel=6.12.41-cloud-amd64'; \
         document.querySelector('input[name=label]').value = 'role=db'; \
         document.querySelector('form button').click(); })()",
    );
    browser.until("location.search.includes('6.12.41') && document.readyState === 'complete'");
    let page = browser.text("#page");
    assert!(page.contains("12% slower"), "{page}");
    browser.complains_of_nothing();
}

#[test]
fn a_run_that_arrives_is_seen_and_nobody_loses_their_place() {
    if missing() {
        return;
    }
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let mut browser = Browser::start();
    browser.width(1_000, 600);
    browser.go(served.address, "/");
    browser.until("document.getElementById('live').textContent === 'live'");
    browser.evaluate(
        "window.mine = 'still here'; document.querySelector('#page a').focus(); scrollTo(0, 300)",
    );
    let focused = browser.evaluate("document.activeElement.href");
    let before = browser.evaluate("document.getElementById('page').dataset.tag");
    assert!(!browser.text("#page").contains("newcomer"));

    let state = tempfile::tempdir().unwrap();
    let mut program = command(&agent());
    program.args(["run", "--host-id", "newcomer", "--collector", &served.serving.url]);
    let done = run(program.args(TINY).arg("--state-dir").arg(state.path()));
    assert_eq!(done.code, 0, "{done:?}");

    browser.until("document.getElementById('page').innerText.includes('newcomer')");
    let row = browser.text("#page tbody tr");
    assert!(row.contains("newcomer"), "the newest comes first: {row}");
    assert_ne!(browser.evaluate("document.getElementById('page').dataset.tag"), before);
    assert_eq!(browser.evaluate("window.mine"), "still here", "the page was not loaded again");
    assert_eq!(browser.evaluate("scrollY"), 300);
    assert_eq!(browser.evaluate("document.activeElement.href"), focused);
    assert_eq!(browser.text("#live"), "live");
    browser.complains_of_nothing();

    // What was opened stays open.
    browser.go(served.address, "/report");
    browser.until("document.getElementById('live').textContent === 'live'");
    browser.evaluate("document.querySelector('#page details').open = true");
    let tag = browser.evaluate("document.getElementById('page').dataset.tag");
    let done = run(&mut program);
    assert_eq!(done.code, 0, "{done:?}");
    browser.until(&format!("document.getElementById('page').dataset.tag !== {tag}"));
    assert_eq!(browser.evaluate("document.querySelector('#page details').open"), true);

    served.serving.stop(Signal::TERM);
    browser.until("document.getElementById('live').textContent.includes('cannot reach')");
    assert!(browser.text("#page").contains("amd-epyc-7b13-2c1t-vm-8g"), "what was there stays");
}

/// Makes the pictures that the README shows, where it is asked to: `FLEETMARK_SCREENSHOTS=1`.
#[test]
fn pictures_for_the_readme() {
    if std::env::var_os("FLEETMARK_SCREENSHOTS").is_none() || missing() {
        return;
    }
    let simulated = Simulated::new();
    let served = Served::start(&simulated.store);
    let mut browser = Browser::start();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    browser.width(1_000, 1_100);
    for (name, path) in [("fleet", PAGES[0].0), ("compare", PAGES[4].0)] {
        browser.go(served.address, path);
        browser.until("document.getElementById('live').textContent === 'live'");
        std::fs::write(folder.join(format!("{name}.png")), browser.picture()).unwrap();
    }
}
