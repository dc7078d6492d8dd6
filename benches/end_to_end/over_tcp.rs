//! CPU time per call of the process in front with calls over TCP connections, beside its own over UDP: the dialog past
//! the dispatcher against all of it through a proxy.

use serde_json::{Value, json};

use crate::front::{Front, Running};
use crate::load::cpu_of_a_call;
use crate::options::Options;
use crate::report::{Spread, cell};

/// Connections that the calls share; 0: over UDP.
const CONNECTIONS: [usize; 3] = [0, 1, 100];

/// Measurements of one front over so many connections, run by run.
pub struct OverTcp {
    front: Front,
    connections: usize,
    /// CPU of the front per INVITE, in µs.
    runs: Vec<f64>,
}

/// Measures the fronts that are here, in turn, as many rounds as the options ask for.
pub fn measure(options: &Options) -> Vec<OverTcp> {
    let fronts = [Front::Pointsman, Front::Kamailio("stateful")].into_iter();
    let fronts = fronts.filter(|front| front.missing().is_none() && options.takes(&front.name()));
    let rows = fronts.flat_map(|front| CONNECTIONS.map(|connections| OverTcp { front, connections, runs: Vec::new() }));
    let mut rows: Vec<OverTcp> = rows.collect();
    for round in 1..=options.runs {
        for row in &mut rows {
            let running = match (row.front, row.connections) {
                (Front::Kamailio(mode), 1..) => Running::of_kamailio_over_tcp(mode),
                (front, _) => front.start(),
            };
            let cpu = cpu_of_a_call(&running, row.connections, options.span);
            eprintln!("round {round}: {}, {}: {cpu:.2} µs an INVITE", row.front.name(), row.way());
            row.runs.push(cpu);
        }
    }
    rows
}

impl OverTcp {
    fn way(&self) -> String {
        match self.connections {
            0 => "udp".to_owned(),
            1 => "tcp, 1 connection".to_owned(),
            many => format!("tcp, {many} connections"),
        }
    }

    fn cpu(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().copied())
    }

    /// Prints the table.
    pub fn print(rows: &[OverTcp]) {
        println!("\nWhole calls over connections: CPU of the process in front per INVITE, in µs; median (min–max)");
        println!("| front | over | µs per INVITE | × its own over UDP | × Pointsman |");
        println!("|---|---|---|---|---|");
        for row in rows {
            let udp = rows.iter().find(|it| it.front == row.front && it.connections == 0).and_then(OverTcp::cpu);
            let ours = rows.iter().find(|it| it.front == Front::Pointsman && it.connections == row.connections);
            let ratio = |other: Option<Spread>| {
                let pair = row.cpu().zip(other);
                pair.map(|(own, other)| format!("{:.2}", own.median / other.median)).unwrap_or_default()
            };
            let (own, others) = (ratio(udp), ratio(ours.and_then(OverTcp::cpu)));
            println!("| {} | {} | {} | {own} | {others} |", row.front.name(), row.way(), cell(row.cpu(), 2));
        }
    }

    /// Everything as JSON.
    pub fn json(&self) -> Value {
        let cpu = self.cpu().map(Spread::json);
        json!({ "front": self.front.name(), "connections": self.connections, "front_cpu_us_per_invite": cpu })
    }
}
