//! `flows generate` as a person runs it: the lines are LANL's format and have the published shape.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use flows::{generate, lanl};
use sha2::{Digest, Sha256};

/// Enough for shares to lie within a percent of what they are in the long run.
const ROWS: u64 = 200_000;

#[track_caller]
fn lines(rows: u64, seed: u64) -> Vec<String> {
    let mut text = Vec::new();
    generate::generate(rows, seed, &mut text).unwrap();
    String::from_utf8(text)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn column(lines: &[String], name: &str) -> Vec<String> {
    let position = lanl::FIELDS
        .iter()
        .position(|&field| field == name)
        .unwrap();
    lines
        .iter()
        .map(|line| line.split(',').nth(position).unwrap().to_owned())
        .collect()
}

fn share(values: &[String], is_counted: impl Fn(&str) -> bool) -> f64 {
    values.iter().filter(|value| is_counted(value)).count() as f64 / values.len() as f64
}

#[track_caller]
fn assert_about(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() < 0.01 * expected.max(1.0),
        "{what}: {found}, expected about {expected}"
    );
}

/// Runs the program with `arguments` after `generate` and gives its standard output.
#[track_caller]
fn run(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_flows"))
        .arg("generate")
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

#[test]
fn every_line_is_a_flow() {
    let lines = lines(ROWS, 1);
    assert_eq!(lines.len() as u64, ROWS);
    for line in lines {
        assert!(lanl::parse(line.as_bytes()).is_ok(), "{line}");
    }
}

#[test]
fn seconds_start_at_one_never_fall_and_hold_about_99_flows() {
    let times: Vec<u64> = column(&lines(ROWS, 2), "time")
        .iter()
        .map(|time| time.parse().unwrap())
        .collect();
    assert_eq!(times[0], 1);
    assert!(times.is_sorted());
    let mut in_second = HashMap::new();
    times
        .iter()
        .for_each(|time| *in_second.entry(time).or_insert(0_u64) += 1);
    assert_about(
        ROWS as f64 / in_second.len() as f64,
        99.0,
        "flows in a second",
    );
    let alone = in_second.values().filter(|&&flows| flows == 1).count();
    assert!(
        alone < in_second.len() / 2,
        "{alone} of {} seconds hold one flow",
        in_second.len()
    );
}

#[test]
fn ports_are_names_as_often_as_published() {
    let lines = lines(ROWS, 3);
    for (name, named) in [("src_port", 0.71), ("dst_port", 0.64)] {
        let ports = column(&lines, name);
        assert_about(share(&ports, |port| port.starts_with('N')), named, name);
        let numbers: HashSet<_> = ports.iter().filter(|port| !port.starts_with('N')).collect();
        for known in ["443", "80", "53", "22", "389", "88", "445"] {
            assert!(
                numbers.contains(&known.to_owned()),
                "{name} without {known}: {numbers:?}"
            );
        }
        assert!(
            numbers.iter().all(|port| port.parse::<u16>().is_ok()),
            "{numbers:?}"
        );
    }
}

#[test]
fn one_row_in_twenty_repeats_its_neighbour() {
    let lines = lines(ROWS, 4);
    let repeated = lines.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_about(repeated as f64 / ROWS as f64, 0.05, "duplicates");
}

#[test]
fn few_hosts_are_busy_and_many_are_quiet() {
    let mut flows = HashMap::new();
    for host in column(&lines(ROWS, 5), "src_comp") {
        assert!(
            host.strip_prefix('C')
                .is_some_and(|number| number.parse::<u32>().is_ok()),
            "{host}"
        );
        *flows.entry(host).or_insert(0_u64) += 1;
    }
    let mut counts: Vec<u64> = flows.into_values().collect();
    counts.sort_unstable();
    let busiest: u64 = counts.iter().rev().take(counts.len() / 20).sum();
    assert!(counts.len() > 5_000, "only {} hosts", counts.len());
    assert!(
        busiest > ROWS / 2,
        "a twentieth of the hosts has only {busiest} of {ROWS} flows"
    );
}

#[test]
fn protocols_are_mostly_tcp_some_udp_and_few_icmp() {
    let protocols = column(&lines(ROWS, 6), "protocol");
    for (number, expected) in [("6", 0.86), ("17", 0.12), ("1", 0.02)] {
        assert_about(
            share(&protocols, |protocol| protocol == number),
            expected,
            number,
        );
    }
}

#[test]
fn counts_have_a_long_tail() {
    let lines = lines(ROWS, 7);
    for name in ["packet_count", "byte_count"] {
        let mut counts: Vec<u64> = column(&lines, name)
            .iter()
            .map(|count| count.parse().unwrap())
            .collect();
        counts.sort_unstable();
        let (median, largest) = (counts[counts.len() / 2], counts[counts.len() - 1]);
        assert!(
            counts[0] > 0 && largest > 1_000 * median,
            "{name}: median {median}, largest {largest}"
        );
    }
}

/// The digest is part of the contract: measurements and tests elsewhere rely on the same lines.
#[test]
fn a_seed_always_gives_the_same_lines() {
    let text = run(&["--rows", "10000", "--seed", "42"]);
    let digest: String = Sha256::digest(&text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let head = String::from_utf8_lossy(&text[..text.len().min(300)]);
    assert_eq!(
        digest, "143cf16202bd14d0045df7e397d3fd14165106f22546cd461194535edd702f3b",
        "{head}"
    );
    assert_ne!(text, run(&["--rows", "10000", "--seed", "43"]));
}

#[test]
fn a_shorter_run_is_the_beginning_of_a_longer_one() {
    let (short, long) = (run(&["--rows", "10"]), run(&["--rows", "5000"]));
    assert_eq!(short.iter().filter(|&&byte| byte == b'\n').count(), 10);
    assert!(
        long.starts_with(&short),
        "{}",
        String::from_utf8_lossy(&short)
    );
    assert!(run(&["--rows", "0"]).is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flows"))
        .args(["generate", "--rows", "100000000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(first.starts_with("1,"), "{first}");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}
