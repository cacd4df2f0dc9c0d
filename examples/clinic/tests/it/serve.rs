//! The server loop against clients that behave and clients that do not.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    process::Command,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use clinic::{
    certs::{self, Certs},
    serve::{self, ConnFacts, Ended, Limits, Listener, RequestBody, ServeError},
};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tower_ward::clock::{Clock, SystemClock};

use crate::tls;

const HOST: &str = "harbour.localhost";
const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

/// Longer than anything here takes: what waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for something that must not happen to show.
const SHORT: Duration = Duration::from_millis(300);

/// A limit that a test waits for, and that a well-behaved client keeps even on a busy machine.
const LIMIT: Duration = Duration::from_secs(2);

struct Server {
    address: SocketAddr,
    certs: Certs,
    /// A permit lets one waiting request go on.
    gate: Arc<Semaphore>,
    /// Holds a permit for each request that has come to wait.
    arrived: Arc<Semaphore>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
}

impl Server {
    async fn tls(limits: Limits) -> Self {
        Self::start(limits, true).await
    }

    async fn start(limits: Limits, tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certs = certs::open(dir.path(), &[HOST], SystemClock::new().now()).unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener =
            if tls { Listener::tls(socket, certs.chain(), certs.key()) } else { Listener::plain(socket) }.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (stop, stopped) = oneshot::channel::<()>();
        let (g, a) = (Arc::clone(&gate), Arc::clone(&arrived));
        let service = tower::service_fn(move |request| answer(request, Arc::clone(&g), Arc::clone(&a)));
        let ended = tokio::spawn(serve::serve(listener, service, |facts| facts, limits, async {
            let _ = stopped.await;
        }));
        Self { address, certs, gate, arrived, stop, ended }
    }

    async fn h1(&self) -> http1::SendRequest<Empty<Bytes>> {
        let io = tls::connect(tls::config(&self.certs, &[&TLS13], &[H1]), self.address, HOST).await.unwrap();
        let (send, conn) = http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(conn);
        send
    }

    async fn h2(&self) -> http2::SendRequest<Empty<Bytes>> {
        let io = tls::connect(tls::config(&self.certs, &[&TLS13], &[H2]), self.address, HOST).await.unwrap();
        let (send, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
        tokio::spawn(conn);
        send
    }

    async fn wait_for_a_request(&self) {
        within(self.arrived.acquire()).await.unwrap().forget();
    }
}

/// `/` tells the connection's facts; `/endless` has more than any buffer holds; `/wait` answers after the gate; `/stream` has half of its body after the gate.
async fn answer(
    request: Request<RequestBody>,
    gate: Arc<Semaphore>,
    arrived: Arc<Semaphore>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let facts = request.extensions().get::<ConnFacts>().unwrap();
    let body = match request.uri().path() {
        "/wait" => {
            arrived.add_permits(1);
            gate.acquire().await.unwrap().forget();
            "waited".to_owned().boxed()
        }
        "/stream" => {
            let (send, receive) = mpsc::channel(1);
            tokio::spawn(async move {
                send.send(Bytes::from_static(b"first ")).await.unwrap();
                arrived.add_permits(1);
                gate.acquire().await.unwrap().forget();
                send.send(Bytes::from_static(b"second")).await.unwrap();
            });
            Fed(receive).boxed()
        }
        "/endless" => Endless.boxed(),
        "/large" => "x".repeat(LARGE).boxed(),
        _ => format!("{:?} {} {}", facts.sni, facts.tls, facts.peer).boxed(),
    };
    Ok(Response::new(body))
}

/// Of one frame, more than the sockets hold: the server has handed it on long before the client has it.
const LARGE: usize = 32 << 20;

struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://{HOST}{path}")).header("host", HOST).body(Empty::new()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes far too long")
}

/// Reads until the server closes.
async fn until_closed(mut io: impl AsyncRead + Unpin) {
    let mut rest = Vec::new();
    // A reset is a close too.
    let _ = within(io.read_to_end(&mut rest)).await;
}

// proves GLM-02, CLA-06, CLA-08
#[tokio::test]
async fn tls_1_3_is_spoken_over_http_2_and_http_1_and_tls_1_2_is_refused() {
    let server = Server::tls(Limits::default()).await;

    let older = tls::connect(tls::config(&server.certs, &[&TLS12], &[H2, H1]), server.address, HOST).await;
    assert!(older.unwrap_err().to_string().contains("ProtocolVersion"));

    for (offered, agreed) in [(&[H2, H1][..], Some(H2)), (&[H1], Some(H1)), (&[], None)] {
        let io =
            tls::connect(tls::config(&server.certs, &[&TLS12, &TLS13], offered), server.address, HOST).await.unwrap();
        let (_, session) = io.get_ref();
        assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(session.alpn_protocol(), agreed);
    }

    assert_eq!(within(server.h1().await.send_request(get("/"))).await.unwrap().version(), http::Version::HTTP_11);
    assert_eq!(within(server.h2().await.send_request(get("/"))).await.unwrap().version(), http::Version::HTTP_2);
}

// proves CLA-08
#[tokio::test]
async fn a_hello_for_tls_1_0_to_1_2_is_answered_with_the_alert_protocol_version() {
    let server = Server::tls(Limits::default()).await;
    for minor in [1, 2, 3] {
        // RFC 5246 §7.4.1.2, with suites and groups that the server would know: only the version is wrong.
        let mut hello = vec![3, minor];
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend([0, 8, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0x00, 0x2f]);
        hello.extend([1, 0]);
        let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 3, 4, 1];
        hello.extend([0, u8::try_from(extensions.len()).unwrap()]);
        hello.extend(extensions);
        let length = u8::try_from(hello.len()).unwrap();
        let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
        record.extend(hello);

        let mut tcp = TcpStream::connect(server.address).await.unwrap();
        tcp.write_all(&record).await.unwrap();
        let mut alert = [0; 7];
        within(tcp.read_exact(&mut alert)).await.unwrap();
        let [kind, .., level, description] = alert;
        assert_eq!((kind, level, description), (21, 2, 70), "TLS 1.{}", minor - 1);
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_no_answer() {
    let server = Server::tls(Limits::default()).await;
    let mut tcp = TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(tcp.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn each_request_carries_the_facts_of_its_connection() {
    let server = Server::tls(Limits::default()).await;
    for host in [HOST, "127.0.0.1"] {
        let io = tls::connect(tls::config(&server.certs, &[&TLS13], &[H1]), server.address, host).await.unwrap();
        let peer = io.get_ref().0.local_addr().unwrap();
        let (mut send, conn) = http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(conn);
        let sni = (host == HOST).then_some(HOST);
        for _ in 0..2 {
            let told = text(within(send.send_request(get("/"))).await.unwrap()).await;
            assert_eq!(told, format!("{sni:?} true {peer}"));
        }
    }

    let plain = Server::start(Limits::default(), false).await;
    let tcp = TcpStream::connect(plain.address).await.unwrap();
    let peer = tcp.local_addr().unwrap();
    let (mut send, conn) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(conn);
    assert_eq!(text(within(send.send_request(get("/"))).await.unwrap()).await, format!("None false {peer}"));
}

#[tokio::test]
async fn plain_http_beyond_this_machine_is_refused() {
    for (address, loopback) in
        [("127.0.0.1:0", true), ("127.3.2.1:0", true), ("[::1]:0", true), ("0.0.0.0:0", false), ("[::]:0", false)]
    {
        let listener = Listener::plain(TcpListener::bind(address).await.unwrap());
        match listener {
            Ok(_) => assert!(loopback, "{address}"),
            Err(ServeError::PlainNotLoopback { .. }) => assert!(!loopback, "{address}"),
            Err(other) => panic!("{address}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_slow_handshake_holds_up_nobody_and_is_ended() {
    let mut limits = Limits::default();
    limits.handshake = LIMIT;
    let server = Server::tls(limits).await;
    let silent: Vec<_> = within(async {
        let mut silent = Vec::new();
        for _ in 0..8 {
            silent.push(TcpStream::connect(server.address).await.unwrap());
        }
        silent
    })
    .await;
    // While they stay silent, another one is served.
    text(within(server.h2().await.send_request(get("/"))).await.unwrap()).await;
    for tcp in silent {
        until_closed(tcp).await;
    }
}

#[tokio::test]
async fn a_connection_that_never_asks_is_closed() {
    let mut limits = Limits::default();
    limits.head = SHORT;
    let server = Server::tls(limits.clone()).await;
    // Encrypted, agreed on a protocol, and then silence: or half of a head.
    for (alpn, start) in [(H1, ""), (H1, "GET / HT"), (H2, ""), (H2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")] {
        let mut io = tls::connect(tls::config(&server.certs, &[&TLS13], &[alpn]), server.address, HOST).await.unwrap();
        // On a busy machine the server may have lost its patience already.
        let _ = io.write_all(start.as_bytes()).await;
        until_closed(io).await;
    }

    let plain = Server::start(limits, false).await;
    let mut tcp = TcpStream::connect(plain.address).await.unwrap();
    let _ = tcp.write_all(b"GET / HT").await;
    until_closed(tcp).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let mut limits = Limits::default();
    limits.head = LIMIT;
    limits.idle = SHORT;
    let server = Server::tls(limits).await;

    let (mut waiting, mut streaming) = (server.h2().await, server.h1().await);
    let waited = tokio::spawn(waiting.send_request(get("/wait")));
    let streamed = within(streaming.send_request(get("/stream"))).await.unwrap();
    server.wait_for_a_request().await;
    server.wait_for_a_request().await;
    tokio::time::sleep(LIMIT + SHORT).await;
    server.gate.add_permits(2);
    assert_eq!(text(within(waited).await.unwrap().unwrap()).await, "waited");
    assert_eq!(text(streamed).await, "first second");

    // Now both have nothing to do.
    within(async {
        while !waiting.is_closed() || !streaming.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

// Who is refused before his body was read gets the answer, and not a reset stream in its place.
#[tokio::test]
async fn a_client_that_still_sends_when_it_is_answered_is_not_cut_off() {
    let server = Server::tls(Limits::default()).await;
    let io = tls::connect(tls::config(&server.certs, &[&TLS13], &[H2]), server.address, HOST).await.unwrap();
    let (mut send, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(conn);
    // The service answers and drops the body.
    let post = |body: Fed| Request::post(format!("https://{HOST}/")).header("host", HOST).body(body).unwrap();
    let (feed, body) = mpsc::channel(1);
    let answer = within(send.send_request(post(Fed(body)))).await.unwrap();
    assert!(text(answer).await.contains("127.0.0.1"));
    for _ in 0..4 {
        within(feed.send(Bytes::from_static(b"still sending"))).await.expect("the stream is open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Without end it is not listened to, though.
    within(async { while feed.send(Bytes::from_static(&[b'x'; 4096])).await.is_ok() {} }).await;
}

// A client that asks and does not read holds a connection, a body and its trail; so it holds them for a while only.
#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let mut limits = Limits::default();
    limits.answer = LIMIT;
    let server = Server::tls(limits).await;
    let (mut one, mut other, mut reader) = (server.h1().await, server.h2().await, server.h2().await);
    let unread = (
        within(one.send_request(get("/endless"))).await.unwrap(),
        within(other.send_request(get("/endless"))).await.unwrap(),
    );
    within(async {
        // The other client does not look at its connection until somebody reads.
        while !other.is_closed() {
            // Short requests one after the other are no long one.
            text(reader.send_request(get("/")).await.unwrap()).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!reader.is_closed());
    assert!(unread.0.into_body().collect().await.is_err() && unread.1.into_body().collect().await.is_err());
}

#[tokio::test]
async fn beyond_the_limit_a_connection_waits_while_each_has_a_request_in_flight() {
    let mut limits = Limits::default();
    limits.connections = 2;
    let server = Server::tls(limits).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut send = server.h2().await;
        let answer = send.send_request(get("/wait"));
        busy.push(tokio::spawn(async move { (answer.await.unwrap().status(), send) }));
        server.wait_for_a_request().await;
    }
    let third = async {
        let mut third = server.h2().await;
        text(third.send_request(get("/")).await.unwrap()).await
    };
    let mut third = Box::pin(third);
    assert!(tokio::time::timeout(SHORT, &mut third).await.is_err(), "a third connection was accepted");
    server.gate.add_permits(1);
    within(third).await;
    server.gate.add_permits(1);
    for answer in busy {
        assert_eq!(within(answer).await.unwrap().0, 200, "who had a request in flight was cut off");
    }
}

#[tokio::test]
async fn beyond_the_limit_whoever_has_sent_nothing_makes_room() {
    let mut limits = Limits::default();
    limits.connections = 3;
    // Nothing else ends a connection here.
    (limits.handshake, limits.head, limits.idle) = (PATIENCE, PATIENCE, PATIENCE);
    let server = Server::tls(limits).await;
    let mut asked = server.h1().await;
    text(asked.send_request(get("/")).await.unwrap()).await;
    for _ in 0..5 {
        // Neither a handshake nor a request.
        let mute = TcpStream::connect(server.address).await.unwrap();
        let half = async {
            let config = tls::config(&server.certs, &[&TLS13], &[H1]);
            let mut io = tls::connect(config, server.address, HOST).await.unwrap();
            io.write_all(b"GET / HTT").await.unwrap();
            io
        };
        let half = within(half).await;
        // They have had their time, and the one that asked keeps its place.
        tokio::time::sleep(SHORT).await;
        let mut newcomer = within(server.h1()).await;
        text(within(newcomer.send_request(get("/"))).await.unwrap()).await;
        drop((mute, half, newcomer));
        // Until the server has seen that they are gone.
        tokio::time::sleep(SHORT).await;
    }
    within(asked.ready()).await.unwrap();
    text(within(asked.send_request(get("/"))).await.unwrap()).await;
}

#[tokio::test]
async fn beyond_the_limit_an_answer_that_is_on_its_way_is_sent_first() {
    for h2 in [false, true] {
        let mut limits = Limits::default();
        limits.connections = 1;
        let server = Server::tls(limits).await;
        // Nothing of the body is read until somebody else has asked for the place, and has had the time to get it.
        let (answer, _kept): (_, Box<dyn std::any::Any>) = if h2 {
            let mut first = server.h2().await;
            (within(first.send_request(get("/large"))).await.unwrap(), Box::new(first))
        } else {
            let mut first = server.h1().await;
            (within(first.send_request(get("/large"))).await.unwrap(), Box::new(first))
        };
        let next = async {
            let mut next = server.h1().await;
            text(next.send_request(get("/")).await.unwrap()).await
        };
        let mut next = Box::pin(next);
        assert!(tokio::time::timeout(SHORT + SHORT, &mut next).await.is_err(), "h2 {h2}: its place was given away");
        assert_eq!(within(text(answer)).await.len(), LARGE, "h2 {h2}");
        within(next).await;
    }
}

#[tokio::test]
async fn shutdown_lets_requests_in_flight_finish() {
    // None of these may be what ends a connection here.
    let mut limits = Limits::default();
    (limits.handshake, limits.head, limits.idle, limits.drain) =
        (PATIENCE * 2, PATIENCE * 2, PATIENCE * 2, PATIENCE * 2);
    let server = Server::tls(limits).await;
    let (mut a, mut b, mut c) = (server.h1().await, server.h2().await, server.h1().await);
    // One that speaks TLS but asks for nothing, and one that has not even said hello.
    let _quiet = server.h2().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let waiting = [tokio::spawn(a.send_request(get("/wait"))), tokio::spawn(b.send_request(get("/wait")))];
    let streamed = within(c.send_request(get("/stream"))).await.unwrap();
    for _ in 0..3 {
        server.wait_for_a_request().await;
    }

    server.stop.send(()).unwrap();
    within(async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(!server.ended.is_finished(), "three requests are still in flight");

    server.gate.add_permits(3);
    for request in waiting {
        assert_eq!(text(within(request).await.unwrap().unwrap()).await, "waited");
    }
    assert_eq!(text(streamed).await, "first second");
    assert_eq!(within(server.ended).await.unwrap(), Ended::Drained);
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_finish() {
    let mut limits = Limits::default();
    limits.drain = LIMIT;
    let server = Server::tls(limits).await;
    let (mut stuck, _idle) = (server.h1().await, server.h1().await);
    let request = tokio::spawn(stuck.send_request(get("/wait")));
    server.wait_for_a_request().await;
    server.stop.send(()).unwrap();
    assert_eq!(within(server.ended).await.unwrap(), Ended::Cut(1));
    assert!(within(request).await.unwrap().is_err());
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_its_connection_and_no_other() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = Listener::plain(socket).unwrap();
    let address = listener.local_addr().unwrap();
    let service = tower::service_fn(async |request: Request<RequestBody>| {
        assert!(request.uri().path() != "/panic", "as asked");
        Ok::<_, Infallible>(Response::new("fine".to_owned()))
    });
    tokio::spawn(
        async move { serve::serve(listener, service, |_| (), Limits::default(), std::future::pending()).await },
    );
    for (path, fine) in [("/", true), ("/panic", false), ("/", true)] {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (mut send, conn) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(conn);
        assert_eq!(within(send.send_request(get(path))).await.is_ok(), fine, "{path}");
    }
}

const FEW_FILES: &str = "CLINIC_TEST_FEW_FILES";

/// Runs itself again in a process that may open few files, takes all of them, and gives them back.
#[tokio::test]
async fn running_out_of_files_does_not_end_the_server() {
    if std::env::var_os(FEW_FILES).is_none() {
        let child = tokio::task::spawn_blocking(|| {
            Command::new("sh")
                .args(["-c", "ulimit -n 64 && exec \"$0\" --exact serve::running_out_of_files_does_not_end_the_server"])
                .arg(std::env::current_exe().unwrap())
                .env(FEW_FILES, "1")
                .output()
                .unwrap()
        });
        let output = child.await.unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
        return;
    }
    let server = Server::tls(Limits::default()).await;
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    // The last free one is the client's, so that the server has none to accept it with.
    hoard.pop();
    let config = tls::config(&server.certs, &[&TLS13], &[H2]);
    let client = tls::connect(config, server.address, HOST);
    let mut client = Box::pin(client);
    assert!(tokio::time::timeout(SHORT, &mut client).await.is_err(), "accepted without a file to accept with");
    drop(hoard);
    within(client).await.unwrap();
    text(within(server.h1().await.send_request(get("/"))).await.unwrap()).await;
}

#[tokio::test]
async fn sigint_and_sigterm_ask_for_the_end() {
    for signal in ["INT", "TERM"] {
        let signalled = serve::signalled().unwrap();
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(std::process::id().to_string()).status().unwrap();
        assert!(sent.success());
        within(signalled).await;
    }
}
