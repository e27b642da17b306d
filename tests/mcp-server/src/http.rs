//! As much of HTTP/1.1 as the tests need: one thread for each connection, requests with a length.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::options::{Mode, Options};
use crate::server::Server;

/// One request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What answers the requests of a connection.
pub(crate) type Answer = fn(&Arc<Server>, &Request, &mut Connection) -> io::Result<()>;

/// The way back to a client.
pub(crate) struct Connection {
    stream: TcpStream,
    /// No other request can come: a stream of events ends with the connection.
    ended: bool,
}

impl Connection {
    /// A whole answer.
    pub(crate) fn send(&mut self, status: u16, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {status} {}\r\ncontent-length: {}\r\n", phrase(status), body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream.write_all(format!("{head}\r\n{body}").as_bytes())
    }

    /// The head of an event stream, which ends with the connection.
    pub(crate) fn begin_events(&mut self, headers: &[(&str, &str)]) -> io::Result<()> {
        self.ended = true;
        let mut head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n".to_owned();
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.stream.write_all(format!("{head}\r\n").as_bytes())
    }

    /// One event.
    pub(crate) fn event(&mut self, name: &str, data: &str) -> io::Result<()> {
        self.stream.write_all(format!("event: {name}\r\ndata: {data}\r\n\r\n").as_bytes())
    }

    /// Reads until the client goes; nothing more is expected of it.
    pub(crate) fn until_gone(&mut self) {
        let mut rest = [0; 64];
        while self.stream.read(&mut rest).is_ok_and(|read| read > 0) {}
        self.ended = true;
    }

    /// Another hand on the same connection.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self { stream: self.stream.try_clone()?, ended: self.ended })
    }
}

/// Serves at a port of loopback until the process ends.
pub(crate) fn serve(options: Options, port: u16, answer: Answer) -> io::Result<()> {
    let path = if matches!(options.mode, Mode::Sse(_)) { "sse" } else { "mcp" };
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    writeln!(io::stdout(), "listening on http://{}/{path}", listener.local_addr()?)?;
    let server = Server::new(options);
    for stream in listener.incoming() {
        let (stream, server) = (stream?, server.clone());
        thread::spawn(move || converse(&server, stream, answer));
    }
    Ok(())
}

fn converse(server: &Arc<Server>, stream: TcpStream, answer: Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut connection = Connection { stream, ended: false };
    while !connection.ended {
        let Some(request) = read(&mut reader)? else {
            break;
        };
        let options = &server.options;
        if options.hang {
            connection.until_gone();
            break;
        }
        let known = options.token.as_ref().is_none_or(|token| {
            request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")) == Some(token)
        });
        match (options.status, &options.redirect) {
            _ if !known => unauthorized(options, &mut connection)?,
            (Some(401), _) => unauthorized(options, &mut connection)?,
            (Some(status), _) => connection.send(status, &[("content-type", "text/plain")], "as you wish")?,
            (None, Some(url)) => connection.send(307, &[("location", url)], "")?,
            _ if options.html => {
                connection.send(200, &[("content-type", "text/html")], "<html><body>A page.</body></html>")?;
            }
            _ => answer(server, &request, &mut connection)?,
        }
    }
    Ok(())
}

fn unauthorized(options: &Options, connection: &mut Connection) -> io::Result<()> {
    let challenge: &[_] = if options.www_authenticate { &[("www-authenticate", "Bearer realm=\"test\"")] } else { &[] };
    connection.send(401, challenge, "who are you?")
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut request = Request { method: method.into(), path: path.into(), headers: Vec::new(), body: String::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        500 => "Internal Server Error",
        _ => "So It Is",
    }
}
