//! Folders, patterns, lists and single files as sources.

mod common;

use std::fs;

use common::{Files, items, place};
use featvec_collections::sources::{Input, Place, Shard, SourceOptions, open};

fn photos() -> Files {
    let files = Files::new();
    for name in
        ["b.jpg", "a/2.PNG", "a/10.jpg", "a.jpg", "c/notes.txt", "c/.hidden.jpg", ".cache/x.jpg", "d/x.tar"]
    {
        files.write(name, name);
    }
    files
}

fn keys(files: &Files, options: &SourceOptions) -> Vec<String> {
    let mut collection = open(&[place(files.0.path())], options).unwrap();
    items(&mut collection).iter().map(|item| files.short(&item.key)).collect()
}

#[test]
fn a_folder_gives_what_find_gives() {
    let files = photos();
    let found = featvec::pictures::find([files.0.path().to_owned()]);
    let found: Vec<_> = found
        .iter()
        .map(|found| match found {
            featvec::pictures::Found::Picture(path) => files.short(&path.display().to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys(&files, &SourceOptions::default()), found);
    assert_eq!(found, ["a/10.jpg", "a/2.PNG", "a.jpg", "b.jpg"]);
}

#[test]
fn hidden_files_and_exclusions() {
    let files = photos();
    let hidden = SourceOptions { hidden: true, ..SourceOptions::default() };
    assert_eq!(keys(&files, &hidden)[0], ".cache/x.jpg");
    let exclude = SourceOptions { exclude: vec!["a/".into(), "b.*".into()], ..SourceOptions::default() };
    assert_eq!(keys(&files, &exclude), ["a.jpg"]);
    files.write(".featvecignore", "*.jpg\n!b.jpg\n");
    assert_eq!(keys(&files, &SourceOptions::default()), ["a/2.PNG", "b.jpg"]);
    let all = SourceOptions { ignore_files: false, ..SourceOptions::default() };
    assert_eq!(keys(&files, &all).len(), 4);
}

#[test]
fn an_exclusion_that_is_no_pattern_is_refused_at_once() {
    let options = SourceOptions { exclude: vec!["a[".into()], ..SourceOptions::default() };
    let error = open(&[place(".")], &options).unwrap_err();
    assert!(error.to_string().starts_with("--exclude a["), "{error}");
}

#[test]
fn a_folder_without_pictures_says_what_it_looked_for() {
    let files = Files::new();
    files.write("empty/readme.md", "");
    let lines = files.items("empty", &SourceOptions::default());
    assert!(lines[0].contains("! no pictures in this folder (looked for names that end in jpg"), "{lines:?}");
}

#[cfg(unix)]
#[test]
fn links_are_followed_but_not_in_circles() {
    use std::os::unix::fs::symlink;
    let files = photos();
    symlink(files.path("."), files.path("a/circle")).unwrap();
    symlink(files.path("b.jpg"), files.path("e.jpg")).unwrap();
    symlink("nowhere", files.path("f.jpg")).unwrap();
    symlink("nowhere", files.path("f.txt")).unwrap();
    let lines = files.items("", &SourceOptions::default());
    assert_eq!(lines[4..], ["e.jpg | a file", "f.jpg | ! No such file or directory (os error 2)"]);
    let options = SourceOptions { follow_links: false, ..SourceOptions::default() };
    assert_eq!(keys(&files, &options), ["a/10.jpg", "a/2.PNG", "a.jpg", "b.jpg"]);
}

#[test]
fn a_file_is_what_its_bytes_say() {
    let files = Files::new();
    files.write("shard", common::tar(&[("x.jpg", b"x")]));
    files.write("photo", "no known bytes");
    assert_eq!(files.items("shard", &SourceOptions::default()), ["shard/x.jpg | x"]);
    assert_eq!(files.items("photo", &SourceOptions::default()), ["photo | a file"]);
}

#[test]
fn what_does_not_exist_is_one_item_and_the_rest_follows() {
    let files = photos();
    let inputs = [place(files.path("nowhere.tar")), place(files.path("nowhere")), place(files.path("a.jpg"))];
    let lines = files.short_items(&mut open(&inputs, &SourceOptions::default()).unwrap());
    assert_eq!(lines[0], "nowhere.tar | ! No such file or directory (os error 2)");
    assert_eq!(lines[1], "nowhere | ! No such file or directory (os error 2)");
    assert_eq!(lines[2], "a.jpg | a file");
}

#[test]
fn lists_name_files_folders_and_shards() {
    let files = photos();
    let shard = files.write("s.tar", common::tar(&[("x.jpg", b"x"), ("x.cls", b"7\n")]));
    let list =
        [&shard, &files.path("a"), &files.path("b.jpg"), &files.path("none.tar"), &files.path("u.txt")];
    let lines: Vec<_> = list.iter().map(|path| path.display().to_string()).collect();
    files.write("list.txt", format!("{}\r\n\nhttp://host/x.jpg", lines.join("\n")));
    let found = files.items("list.txt", &SourceOptions::default());
    let expected = [
        "s.tar/x.jpg | x | 7",
        "a/10.jpg | a file",
        "a/2.PNG | a file",
        "b.jpg | a file",
        "none.tar | ! No such file or directory (os error 2)",
        "u.txt | ! No such file or directory (os error 2)",
        "http://host/x.jpg | ! a URL, and nothing here opens URLs \
         (use a featvec with the feature object-store, or fetch it first)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn lists_of_find_print0() {
    let files = photos();
    let list = files
        .write("list", format!("{}\0{}\0", files.path("a\nb.jpg").display(), files.path("b.jpg").display()));
    let input = [Input::List(Place::Path(list))];
    let options = SourceOptions { null_separated: true, ..SourceOptions::default() };
    let lines = files.short_items(&mut open(&input, &options).unwrap());
    assert_eq!(lines, ["a\nb.jpg | a file", "b.jpg | a file"]);
    let lines = files.short_items(&mut open(&input, &SourceOptions::default()).unwrap());
    assert!(lines.last().unwrap().contains("--null"), "{lines:?}");
}

#[test]
fn a_list_that_is_none_and_one_in_a_list() {
    let files = photos();
    files.write("long.txt", vec![b'x'; 100_000]);
    files.write("outer.txt", files.path("long.txt").display().to_string());
    let lines = files.items("long.txt", &SourceOptions::default());
    assert!(lines[0].contains("line 1 is longer than any path"), "{lines:?}");
    let lines = files.items("outer.txt", &SourceOptions::default());
    assert!(lines[0].starts_with("long.txt | ! a list in a list"), "{lines:?}");
    let lines = files.items("none.txt", &SourceOptions::default());
    assert!(lines[0].starts_with("none.txt | ! No such file"), "{lines:?}");
}

#[test]
fn patterns_and_braces() {
    let files = photos();
    let found = |word: &str| {
        let word = files.path(word);
        let inputs = Input::parse(word.as_os_str()).unwrap();
        let mut collection = open(&inputs, &SourceOptions::default()).unwrap();
        items(&mut collection).iter().map(|item| files.short(&item.key)).collect::<Vec<_>>()
    };
    assert_eq!(found("*.jpg"), ["a.jpg", "b.jpg"]);
    assert_eq!(found("**/*.jpg"), ["a/10.jpg", "a.jpg", "b.jpg"]);
    assert_eq!(found("?"), ["a/10.jpg", "a/2.PNG", "c", "d"]);
    assert_eq!(found("c/.h*.jpg"), ["c/.hidden.jpg"]);
    assert_eq!(found("{b,a}.jpg"), ["b.jpg", "a.jpg"]);
    assert_eq!(found("a/{9..11}.jpg"), ["a/9.jpg", "a/10.jpg", "a/11.jpg"]);
    fs::write(files.path("[x].jpg"), "").unwrap();
    assert_eq!(found("[x].jpg"), ["[x].jpg"]);
    let lines = files.short_items(
        &mut open(&Input::parse(files.path("*.bmp").as_os_str()).unwrap(), &SourceOptions::default())
            .unwrap(),
    );
    assert!(lines[0].starts_with("*.bmp | ! nothing matches this pattern"), "{lines:?}");
}

#[test]
fn shares_are_disjoint_and_together_all() {
    let files = photos();
    let mut found: Vec<String> = (1..=3)
        .flat_map(|i| {
            let shard: Shard = format!("{i}/3").parse().unwrap();
            let options = SourceOptions { shard: Some(shard), ..SourceOptions::default() };
            // Relative keys, because who holds a key depends on it.
            items(&mut open(&[place(files.0.path())], &options).unwrap())
        })
        .map(|item| files.short(&item.key))
        .collect();
    found.sort();
    assert_eq!(found, ["a.jpg", "a/10.jpg", "a/2.PNG", "b.jpg"]);
}

#[test]
fn wanted_is_asked_once_for_each_key_in_order() {
    let files = photos();
    let mut collection = open(&[place(files.0.path())], &SourceOptions::default()).unwrap();
    let mut asked = Vec::new();
    let mut wanted = |key: &str| {
        asked.push(files.short(key));
        key.ends_with("b.jpg")
    };
    let item = collection.next(&mut wanted).unwrap();
    assert!(collection.next(&mut wanted).is_none());
    assert!(item.key.ends_with("/b.jpg"));
    assert_eq!(asked, ["a/10.jpg", "a/2.PNG", "a.jpg", "b.jpg"]);
}

#[test]
fn stdin_can_be_read_once_only() {
    assert_eq!(Input::parse("-".as_ref()).unwrap(), [Input::Stdin]);
    assert!(open(&[Input::Stdin, Input::Stdin], &SourceOptions::default()).is_err());
}

#[test]
fn the_number_of_pictures_is_known_where_they_are_named() {
    let files = photos();
    let expected = |names: &[&str]| {
        let inputs: Vec<_> = names.iter().map(|name| place(files.path(name))).collect();
        open(&inputs, &SourceOptions::default()).unwrap().expected
    };
    assert_eq!(expected(&["a.jpg", "b.jpg"]), Some(2));
    assert_eq!(expected(&["a.jpg", "d"]), None);
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_not_waited_for() {
    let files = Files::new();
    let path = files.path("x.tar");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let lines = files.items("x.tar", &SourceOptions::default());
    assert!(lines[0].contains("named pipe"), "{lines:?}");
}

#[cfg(unix)]
#[test]
fn what_a_pattern_cannot_look_at_is_an_item_where_it_might_match() {
    use std::os::unix::fs::symlink;
    let files = photos();
    symlink("nowhere", files.path("a/3.jpg")).unwrap();
    symlink("nowhere", files.path("a/3.txt")).unwrap();
    // Whether there is a folder behind it nobody knows.
    symlink("turn", files.path("turn")).unwrap();
    let found = |word: &str, options: &SourceOptions| {
        let inputs = Input::parse(files.path(word).as_os_str()).unwrap();
        files.short_items(&mut open(&inputs, options).unwrap())
    };
    let missing = "a/3.jpg | ! No such file or directory (os error 2)";
    assert_eq!(found("a/*.jpg", &SourceOptions::default()), ["a/10.jpg | a file", missing]);
    let deep = found("**/*.jpg", &SourceOptions::default());
    assert_eq!(deep[..4], ["a/10.jpg | a file", missing, "a.jpg | a file", "b.jpg | a file"]);
    assert!(deep[4].starts_with("turn | ! Too many levels of symbolic links"), "{deep:?}");
    assert_eq!(found("t*/*.jpg", &SourceOptions::default()), deep[4..]);
    assert_eq!(found("a*/*.jpg", &SourceOptions::default()), ["a/10.jpg | a file", missing]);
}

#[cfg(unix)]
#[test]
fn patterns_match_links_only_where_they_are_followed() {
    use std::os::unix::fs::symlink;
    let files = photos();
    symlink(files.path("b.jpg"), files.path("e.jpg")).unwrap();
    let found = |follow_links| {
        let options = SourceOptions { follow_links, ..SourceOptions::default() };
        let inputs = Input::parse(files.path("*.jpg").as_os_str()).unwrap();
        items(&mut open(&inputs, &options).unwrap()).len()
    };
    assert_eq!((found(true), found(false)), (3, 2));
}

#[test]
fn the_files_of_the_run_itself_are_no_inputs() {
    let files = photos();
    for name in ["v.arrow.parts/part-0.arrow", "v.arrow.parts/lock", "v.arrow", "v.arrow.manifest.json"] {
        files.write(name, "ours");
    }
    let own = ["v.arrow", "v.arrow.parts", "v.arrow.manifest.json"];
    let passed_over = own.iter().map(|name| fs::canonicalize(files.path(name)).unwrap()).collect();
    let options = SourceOptions { passed_over, ..SourceOptions::default() };
    let found = |inputs: &[Input]| {
        let items = items(&mut open(inputs, &options).unwrap());
        items.iter().map(|item| files.short(&item.key)).collect::<Vec<_>>()
    };
    // As a shell writes `*`.
    let named = ["a", "a.jpg", "b.jpg", "v.arrow", "v.arrow.manifest.json", "v.arrow.parts"];
    let expected = ["a/10.jpg", "a/2.PNG", "a.jpg", "b.jpg"];
    assert_eq!(found(&named.map(|name| place(files.path(name)))), expected);
    let pattern = |word: &str| Input::parse(files.path(word).as_os_str()).unwrap();
    assert_eq!(found(&pattern("[a-bv]*")), expected);
    assert_eq!(found(&pattern("**/*.{jpg,arrow}")), ["a/10.jpg", "a.jpg", "b.jpg"]);
    assert_eq!(found(&[place(files.path("v.arrow.parts/part-0.arrow"))]), [""; 0]);
}

#[test]
fn lists_may_begin_with_a_mark_and_are_no_utf_16() {
    let files = photos();
    let line = files.path("a.jpg").display().to_string();
    files.write("list.txt", format!("\u{feff}{line}\n{line}\n"));
    assert_eq!(files.items("list.txt", &SourceOptions::default()), ["a.jpg | a file"; 2]);
    let wide: Vec<u8> = format!("\u{feff}{line}\n{line}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    files.write("wide.txt", wide);
    let lines = files.items("wide.txt", &SourceOptions::default());
    assert_eq!(lines, ["wide.txt | ! a list in UTF-16 (write the list as UTF-8)"]);
}

#[test]
fn the_first_shard_of_a_pattern_that_can_be_read_tells_the_columns() {
    let files = Files::new();
    files.write("1.tar", "no archive");
    files.write("2.tar", common::tar(&[("x.jpg", b"x"), ("x.cls", b"7")]));
    let inputs = Input::parse(files.path("*.tar").as_os_str()).unwrap();
    let lines = files.short_items(&mut open(&inputs, &SourceOptions::default()).unwrap());
    assert!(lines[0].starts_with("1.tar | ! "), "{lines:?}");
    assert_eq!(lines[1..], ["2.tar/x.jpg | x | 7"]);
}

/// Thousands of lists or patterns must not be open at once.
#[test]
fn lists_are_open_only_when_it_is_their_turn() {
    let files = photos();
    files.write("list.txt", files.path("a.jpg").display().to_string());
    let mut collection = open(&[place(files.path("list.txt"))], &SourceOptions::default()).unwrap();
    files.write("list.txt", files.path("b.jpg").display().to_string());
    assert_eq!(files.short_items(&mut collection), ["b.jpg | a file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_list_in_a_pipe_is_read_once() {
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};
    let files = photos();
    let lines = format!("{}\\n{}\\n", files.path("a.jpg").display(), files.path("b.jpg").display());
    let mut child = Command::new("printf").arg(lines).stdout(Stdio::piped()).spawn().unwrap();
    child.wait().unwrap();
    // As a shell writes `@<(find ...)`.
    let pipe = format!("/dev/fd/{}", child.stdout.as_ref().unwrap().as_raw_fd());
    let input = [Input::List(Place::Path(pipe.into()))];
    let lines = files.short_items(&mut open(&input, &SourceOptions::default()).unwrap());
    assert_eq!(lines, ["a.jpg | a file", "b.jpg | a file"]);
}
