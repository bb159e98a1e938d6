//! `flows generate`: lines in LANL's format with the shape of the published file.
//!
//! The shape: many flows share a second, most ports are names, a few hosts are in most flows, counts have a
//! long tail, and one row in twenty is an exact duplicate. The same seed gives the same bytes on every
//! platform. All arithmetic is on integers, since the last bit of a float's power or logarithm differs
//! between libraries.

use std::io::{self, Write};

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng;

/// Hosts in the published file.
const HOSTS: u16 = 12_027;

/// Flows in a second: the mean of this range, both ends included, is the published 99.
const FLOWS_PER_SECOND: (u32, u32) = (40, 158);

/// Longest line: nine numbers or names of at most 20 bytes each, and their separators.
const LONGEST_LINE: usize = 9 * 21;

/// Size of the write buffer.
const WRITE_AT: usize = 64 * 1024;

/// The numbered ports and the share of each among them, in parts of 64.
const WELL_KNOWN_PORTS: [(&str, usize); 12] = [
    ("443", 15),
    ("80", 12),
    ("53", 11),
    ("389", 6),
    ("88", 5),
    ("445", 5),
    ("22", 3),
    ("137", 2),
    ("123", 2),
    ("135", 1),
    ("139", 1),
    ("2049", 1),
];

/// Writes `rows` lines to `out`; the same `seed` gives the same lines.
///
/// Times start at 1 and never fall. The lines of a shorter run are the first lines of a longer one.
///
/// # Errors
/// The error of a write to `out`.
pub fn generate(rows: u64, seed: u64, out: &mut impl Write) -> io::Result<()> {
    let mut traffic = Traffic::new(seed);
    let mut text = Vec::with_capacity(WRITE_AT + LONGEST_LINE);
    for _ in 0..rows {
        traffic.push_line(&mut text);
        if text.len() >= WRITE_AT {
            out.write_all(&text)?;
            text.clear();
        }
    }
    out.write_all(&text)?;
    out.flush()
}

/// The state between two lines.
struct Traffic {
    random: Pcg64Mcg,
    hosts: Vec<u16>,
    well_known: [&'static str; 64],
    time: u64,
    left_in_second: u32,
    /// The previous line, which a duplicate repeats.
    previous: Vec<u8>,
}

impl Traffic {
    fn new(seed: u64) -> Self {
        Self {
            // The multiplication keeps neighbouring seeds from starting with similar lines.
            random: Pcg64Mcg::new(
                u128::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1,
            ),
            hosts: busy_and_quiet_hosts(),
            well_known: port_slots(),
            time: 0,
            left_in_second: 0,
            previous: Vec::with_capacity(LONGEST_LINE),
        }
    }

    fn push_line(&mut self, text: &mut Vec<u8>) {
        let first_of_second = self.left_in_second == 0;
        if first_of_second {
            self.time += 1;
            let (least, most) = FLOWS_PER_SECOND;
            self.left_in_second = least + self.below(most - least + 1);
        }
        self.left_in_second -= 1;
        if first_of_second || self.below(20) != 0 {
            self.draw_line();
        }
        text.extend_from_slice(&self.previous);
    }

    fn draw_line(&mut self) {
        let mut line = std::mem::take(&mut self.previous);
        line.clear();
        push_number(&mut line, self.time);
        line.push(b',');
        let duration = if self.below(10) < 6 {
            0
        } else {
            self.long_tail(6)
        };
        push_number(&mut line, duration);
        for named_percent in [71, 64] {
            line.extend_from_slice(b",C");
            let host = self.random.next_u32() as usize % self.hosts.len();
            push_number(&mut line, u64::from(self.hosts[host]));
            line.push(b',');
            self.push_port(&mut line, named_percent);
        }
        line.extend_from_slice(match self.below(100) {
            0..86 => b",6,",
            86..98 => b",17,",
            _ => b",1,",
        });
        let packets = 1 + self.long_tail(24);
        push_number(&mut line, packets);
        line.push(b',');
        let bytes_per_packet = 46 + u64::from(self.below(64)) + self.long_tail(10);
        push_number(&mut line, packets * bytes_per_packet);
        line.push(b'\n');
        self.previous = line;
    }

    fn push_port(&mut self, line: &mut Vec<u8>, named_percent: u32) {
        if self.below(100) < named_percent {
            line.push(b'N');
            let number = 1 + self.below(30_000);
            push_number(line, u64::from(number));
        } else {
            let slot = self.below(64) as usize;
            line.extend_from_slice(self.well_known[slot].as_bytes());
        }
    }

    /// A number from 0 to `bound - 1`. The remainder favours small ones by less than one in 2^16 here.
    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.random.next_u32()) * u64::from(bound)) >> 32) as u32
    }

    /// Zero half of the time, and with every further bit, up to `bits`, half as likely.
    fn long_tail(&mut self, bits: u32) -> u64 {
        let draw = self.random.next_u64();
        let width = draw.trailing_zeros().min(bits);
        (draw >> 32) & ((1 << width) - 1)
    }
}

/// Host numbers, each as often as its share of the traffic: in proportion to 1/(rank + 8), at least once.
fn busy_and_quiet_hosts() -> Vec<u16> {
    let mut slots = Vec::with_capacity(1 << 16);
    for rank in 0..HOSTS {
        // A multiplier coprime to HOSTS scatters the busy hosts over the names.
        let host = 1 + (u32::from(rank) * 5_003 % u32::from(HOSTS)) as u16;
        let share = (7_000 / (usize::from(rank) + 8)).max(1);
        slots.extend(std::iter::repeat_n(host, share));
    }
    slots
}

fn port_slots() -> [&'static str; 64] {
    let mut slots = ["443"; 64];
    let ports = WELL_KNOWN_PORTS
        .iter()
        .flat_map(|&(port, share)| std::iter::repeat_n(port, share));
    slots
        .iter_mut()
        .zip(ports)
        .for_each(|(slot, port)| *slot = port);
    slots
}

fn push_number(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
