//! The command line.

/// What a person reads who got it wrong.
pub(crate) const USAGE: &str = "\
usage: setpoint-test-mcp-server (--stdio | --http PORT | --sse PORT | --sleep SECONDS) [OPTION]...

With port 0 the system chooses one; the first line of output is `listening on http://127.0.0.1:PORT/PATH`.

  --name NAME              name of the server            --version VERSION   its version
  --protocol VERSION       always answer this version    --tools N           N tools more: tool-0001, ...
  --page N                 tools per page of the list    --delay-initialize MS

over HTTP
  --answer sse             answer requests as event streams    --stateless     give no session ids
  --token TOKEN            401 for everyone else               --www-authenticate    with that header
  --status CODE            answer everything with it           --html          answer everything with a page
  --hang                   accept, read, and never answer      --redirect URL  answer everything with 307
  --expire                 forget each session at its third request

misbehaviour
  --exit CODE              exit at once                        --exit-after MS
  --mute                   never answer initialize             --refuse        answer initialize with an error
  --fail-lists N           answer the first N tools/list with an error
  --garbage N              N lines that are no JSON before the first answer, and one before each other
  --flood-stdout           print lines that are no JSON for ever
  --flood-notifications    print notifications for ever, once initialized
  --flood-stderr           print to stderr for ever            --deaf          never read standard input
  --fork SECONDS           start a grandchild that sleeps; its process id goes to stderr
";

/// What is spoken, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// On standard input and output.
    Stdio,
    /// Streamable HTTP at a port.
    Http(u16),
    /// Legacy HTTP with server-sent events at a port.
    Sse(u16),
    /// Nothing: it only sleeps, so many seconds.
    Sleep(u64),
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) protocol: Option<String>,
    pub(crate) tools: usize,
    pub(crate) page: usize,
    pub(crate) delay_initialize: u64,
    pub(crate) sse_answers: bool,
    pub(crate) stateless: bool,
    pub(crate) token: Option<String>,
    pub(crate) www_authenticate: bool,
    pub(crate) status: Option<u16>,
    pub(crate) html: bool,
    pub(crate) hang: bool,
    pub(crate) redirect: Option<String>,
    pub(crate) expire: bool,
    pub(crate) exit: Option<i32>,
    pub(crate) exit_after: Option<u64>,
    pub(crate) mute: bool,
    pub(crate) refuse: bool,
    pub(crate) fail_lists: u64,
    pub(crate) garbage: usize,
    pub(crate) flood_stdout: bool,
    pub(crate) flood_notifications: bool,
    pub(crate) flood_stderr: bool,
    pub(crate) deaf: bool,
    pub(crate) fork: Option<u64>,
}

impl Options {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments;
        let mut options = Self {
            mode: Mode::Stdio,
            name: "setpoint-test".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            protocol: None,
            tools: 0,
            page: usize::MAX,
            delay_initialize: 0,
            sse_answers: false,
            stateless: false,
            token: None,
            www_authenticate: false,
            status: None,
            html: false,
            hang: false,
            redirect: None,
            expire: false,
            exit: None,
            exit_after: None,
            mute: false,
            refuse: false,
            fail_lists: 0,
            garbage: 0,
            flood_stdout: false,
            flood_notifications: false,
            flood_stderr: false,
            deaf: false,
            fork: None,
        };
        let mut mode = None;
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--stdio" => mode = Some(Mode::Stdio),
                "--http" => mode = Some(Mode::Http(number(&flag, &value()?)?)),
                "--sse" => mode = Some(Mode::Sse(number(&flag, &value()?)?)),
                "--sleep" => mode = Some(Mode::Sleep(number(&flag, &value()?)?)),
                "--name" => options.name = value()?,
                "--version" => options.version = value()?,
                "--protocol" => options.protocol = Some(value()?),
                "--tools" => options.tools = number(&flag, &value()?)?,
                "--page" => options.page = number::<usize>(&flag, &value()?)?.max(1),
                "--delay-initialize" => options.delay_initialize = number(&flag, &value()?)?,
                "--answer" => options.sse_answers = value()? == "sse",
                "--stateless" => options.stateless = true,
                "--token" => options.token = Some(value()?),
                "--www-authenticate" => options.www_authenticate = true,
                "--status" => options.status = Some(number(&flag, &value()?)?),
                "--html" => options.html = true,
                "--hang" => options.hang = true,
                "--redirect" => options.redirect = Some(value()?),
                "--expire" => options.expire = true,
                "--exit" => options.exit = Some(number(&flag, &value()?)?),
                "--exit-after" => options.exit_after = Some(number(&flag, &value()?)?),
                "--mute" => options.mute = true,
                "--refuse" => options.refuse = true,
                "--fail-lists" => options.fail_lists = number(&flag, &value()?)?,
                "--garbage" => options.garbage = number(&flag, &value()?)?,
                "--flood-stdout" => options.flood_stdout = true,
                "--flood-notifications" => options.flood_notifications = true,
                "--flood-stderr" => options.flood_stderr = true,
                "--deaf" => options.deaf = true,
                "--fork" => options.fork = Some(number(&flag, &value()?)?),
                _ => return Err(format!("{flag} is not known")),
            }
        }
        options.mode = mode.ok_or("one of --stdio, --http, --sse and --sleep is needed")?;
        Ok(options)
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag}: {text:?} is no number that fits"))
}
