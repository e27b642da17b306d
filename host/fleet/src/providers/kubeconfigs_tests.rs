use super::*;

fn kubeconfig(contexts: &[&str], server: &str) -> String {
    let named: Vec<String> =
        contexts.iter().map(|name| format!("- name: {name}\n  context: {{cluster: c, user: u}}\n")).collect();
    format!(
        "clusters:\n- name: c\n  cluster: {{server: '{server}'}}\nusers:\n- name: u\n  user: {{token: t}}\ncontexts:\n{}\
         current-context: {}\n",
        named.concat(),
        contexts.last().unwrap(),
    )
}

struct Dir {
    dir: tempfile::TempDir,
    files: Files,
    options: Kubeconfigs,
}

impl Dir {
    fn new(contexts: Contexts) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = vec![dir.path().to_owned()];
        let options = Kubeconfigs { name: "files".into(), prefix: None, paths, contexts };
        Self { dir, files: Files::default(), options }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// Names, with `!` behind those that cannot be reached, and what is wrong.
    fn look(&mut self) -> (Vec<String>, Vec<String>) {
        let found = self.files.look(&self.options);
        let name = |(name, reach): &(String, Reach)| format!("{name}{}", if reach.way.is_err() { "!" } else { "" });
        let troubles = found.troubles.into_values().flatten().collect();
        (found.clusters.iter().map(name).collect(), troubles)
    }
}

#[test]
fn each_context_of_each_file_is_a_cluster() {
    let mut dir = Dir::new(Contexts::All);
    dir.write("west.kubeconfig", &kubeconfig(&["admin@west", "reader"], "https://w"));
    dir.write("east.kubeconfig.yaml", &kubeconfig(&["admin"], "https://e"));
    dir.write("notes.txt", "nothing");
    dir.write(".hidden.kubeconfig", "nothing");
    assert_eq!(dir.look(), (vec!["east.admin".into(), "west.admin-west".into(), "west.reader".into()], vec![]));
    let mut dir = Dir::new(Contexts::Current);
    dir.write("west.kubeconfig", &kubeconfig(&["admin@west", "reader"], "https://w"));
    assert_eq!(dir.look().0, ["west"]);
}

#[test]
fn a_file_that_is_broken_keeps_what_it_gave_and_touches_no_other() {
    let mut dir = Dir::new(Contexts::All);
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w"));
    dir.write("east.kubeconfig", "clusters: [");
    let (names, troubles) = dir.look();
    assert_eq!((names, troubles), (vec!["east!".into(), "west.a".into()], vec![]), "its cluster says why");
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w")[..40]);
    dir.write("east.kubeconfig", &kubeconfig(&["b"], "https://e"));
    let (names, troubles) = dir.look();
    assert_eq!(names, ["east.b", "west.a"], "half-written: as it was; mended: taken up");
    assert_eq!(troubles.len(), 1);
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w"));
    assert_eq!(dir.look(), (vec!["east.b".into(), "west.a".into()], vec![]));
}

#[test]
fn a_file_is_gone_when_two_looks_have_not_found_it_and_a_directory_that_is_away_says_nothing() {
    let mut dir = Dir::new(Contexts::All);
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w"));
    dir.look();
    let (there, away) = (dir.dir.path().to_owned(), dir.dir.path().with_extension("away"));
    std::fs::rename(&there, &away).unwrap();
    for _ in 0..3 {
        let (names, troubles) = dir.look();
        assert_eq!(names, ["west.a"]);
        assert!(troubles.len() == 1 && troubles[0].contains("cannot be read"), "{troubles:?}");
    }
    std::fs::rename(&away, &there).unwrap();
    dir.look();
    std::fs::remove_file(there.join("west.kubeconfig")).unwrap();
    assert_eq!(dir.look().0, ["west.a"]);
    assert_eq!(dir.look(), (vec![], vec![]));
}

#[test]
fn a_file_that_is_named_and_not_there_shows_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prod.yaml");
    let options =
        Kubeconfigs { name: "files".into(), prefix: None, paths: vec![path.clone()], contexts: Contexts::Current };
    let mut files = Files::default();
    let found = files.look(&options);
    assert!(found.clusters[0].0 == "prod" && found.clusters[0].1.way.is_err());
    std::fs::write(&path, kubeconfig(&["a"], "https://p")).unwrap();
    let found = files.look(&options);
    assert!(found.clusters[0].0 == "prod" && found.clusters[0].1.way.is_ok());
}

#[test]
fn another_address_is_another_instance_and_another_token_is_not() {
    let mut dir = Dir::new(Contexts::Current);
    let instance = |dir: &mut Dir| dir.files.look(&dir.options).clusters[0].1.instance.clone();
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w"));
    let first = instance(&mut dir);
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w").replace("token: t", "token: another"));
    assert_eq!(instance(&mut dir), first);
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://elsewhere"));
    assert_ne!(instance(&mut dir), first);
}

#[test]
fn two_files_that_give_one_name_are_told_apart_by_a_person() {
    let mut dir = Dir::new(Contexts::Current);
    dir.write("west.kubeconfig", &kubeconfig(&["a"], "https://w"));
    dir.write("west.config", &kubeconfig(&["a"], "https://v"));
    let (names, troubles) = dir.look();
    assert_eq!(names, ["west"]);
    assert!(troubles.len() == 1 && troubles[0].contains("rename the file"), "{troubles:?}");
}
