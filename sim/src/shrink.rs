//! Makes a failing plan small: drops clients, steps and settings, simplifies what is left, and
//! shortens the times, for as long as the plan breaks the same guarantee.

mod simplify;

use crate::plan::{Do, Plan, bound_ms};

/// How many seeds of chance are tried beside each step dropped.
const CHANCES: u64 = 3;
/// The slowest that shrinking makes a client.
const ACK_DELAY_MS: u64 = 5_000;

/// About what a publication takes beside what fills it up, in bytes.
const PUBLICATION_BYTES: u32 = 40;

/// Tries plans, counting.
struct Trial<'a> {
    fails: &'a mut dyn FnMut(&Plan) -> Option<bool>,
    best: Plan,
    tries_left: usize,
}

/// The smallest plan found that still `fails`, within so many tries. `plan` itself must fail. `None` from
/// `fails` ends the search.
pub fn shrink(plan: &Plan, tries: usize, fails: &mut dyn FnMut(&Plan) -> Option<bool>) -> Plan {
    let mut trial = Trial { fails, best: plan.clone(), tries_left: tries };
    loop {
        let before = trial.best.clone();
        trial.drop_tail();
        trial.drop_clients();
        trial.drop_steps();
        trial.drop_settings();
        trial.simplify();
        trial.shorten();
        if trial.best == before {
            // Nothing gets simpler by itself any more: look for what two changes do together.
            trial.merge_clients();
            trial.drop_pairs();
            trial.fill_publishes();
            trial.drop_with_less_room();
            trial.drop_with_other_chance();
            trial.drop_with_slower_clients();
        }
        if trial.best == before || trial.tries_left == 0 {
            return trial.best;
        }
    }
}

impl Trial<'_> {
    /// Takes a plan over if it differs and still fails.
    fn take(&mut self, plan: Plan) -> bool {
        if plan == self.best {
            return false;
        }
        self.tries_left -= 1;
        let Some(fails) = (self.fails)(&plan) else {
            self.tries_left = 0;
            return false;
        };
        if fails {
            self.best = plan;
        }
        fails
    }

    /// Takes over what `change` makes of the best plan, if it still fails.
    fn change(&mut self, change: impl FnOnce(&mut Plan)) -> bool {
        if self.tries_left == 0 {
            return false;
        }
        let mut plan = self.best.clone();
        change(&mut plan);
        self.take(plan)
    }

    /// Cuts off the end, half of what is left at a time.
    fn drop_tail(&mut self) {
        let mut cut = self.best.steps.len() / 2;
        while cut > 0 {
            let kept = self.best.steps.len().saturating_sub(cut);
            if !self.change(|plan| {
                plan.steps.truncate(kept);
                end_earlier(plan);
            }) {
                cut /= 2;
            }
        }
    }

    fn drop_clients(&mut self) {
        for client in (0..self.best.clients.len()).rev() {
            self.change(|plan| remove_client(plan, client));
        }
        for place in (0..self.best.dead.len()).rev() {
            self.change(|plan| {
                plan.dead.remove(place);
            });
        }
    }

    /// Delta debugging: drops runs of steps, long ones first.
    fn drop_steps(&mut self) {
        let mut run = self.best.steps.len().div_ceil(2);
        while run > 0 {
            let mut from = self.best.steps.len();
            while from > 0 {
                let end = from.min(self.best.steps.len());
                from = end.saturating_sub(run);
                self.change(|plan| drop(plan.steps.drain(from..end)));
            }
            run = if run == 1 { 0 } else { run.div_ceil(2) };
        }
    }

    /// Lets one client do what two did.
    fn merge_clients(&mut self) {
        for client in (1..self.best.clients.len()).rev() {
            for other in 0..client {
                if self.change(|plan| merge_client(plan, client, other)) {
                    break;
                }
            }
        }
    }

    /// Drops two steps at a time: a fault and its end mean nothing without each other.
    fn drop_pairs(&mut self) {
        let mut later = self.best.steps.len();
        while later > 1 {
            later = later.min(self.best.steps.len()) - 1;
            for earlier in (0..later).rev() {
                let is_dropped = self.change(|plan| {
                    plan.steps.remove(later);
                    plan.steps.remove(earlier);
                });
                if is_dropped {
                    break;
                }
            }
        }
    }

    /// Lets one publication take as much room as it and another did.
    fn fill_publishes(&mut self) {
        for place in (1..self.best.steps.len()).rev() {
            for earlier in (0..place).rev() {
                if self.change(|plan| fill_publish(plan, place, earlier)) {
                    break;
                }
            }
        }
    }

    /// Drops steps where a setting is smaller: what fills a smaller limit takes fewer.
    fn drop_with_less_room(&mut self) {
        for setting in 0..self.best.settings.len() {
            for (part, whole) in [(1, 4), (1, 2), (3, 4)] {
                let mut run = self.best.steps.len() / 2;
                while run > 0 {
                    let mut from = self.best.steps.len();
                    while from > 0 {
                        let end = from.min(self.best.steps.len());
                        from = end.saturating_sub(run);
                        self.change(|plan| {
                            let (_, value) = &mut plan.settings[setting];
                            let smaller = value.saturating_mul(part) / whole;
                            if *value > 1 && smaller < *value {
                                *value = smaller.max(1);
                                drop(plan.steps.drain(from..end));
                            }
                        });
                    }
                    run /= 2;
                }
            }
        }
    }

    /// Drops a step where that shifts what chance brings.
    fn drop_with_other_chance(&mut self) {
        for place in (0..self.best.steps.len()).rev() {
            for seed in 1..=CHANCES {
                let is_dropped = self.change(|plan| {
                    plan.seed = seed;
                    plan.steps.remove(place);
                });
                if is_dropped {
                    break;
                }
            }
        }
    }

    /// Drops steps that only take time, letting the clients take it instead.
    fn drop_with_slower_clients(&mut self) {
        for slower in [10, 100] {
            let mut run = self.best.steps.len() / 2;
            while run > 0 {
                let mut from = self.best.steps.len();
                while from > 0 {
                    let end = from.min(self.best.steps.len());
                    from = end.saturating_sub(run);
                    self.change(|plan| {
                        drop(plan.steps.drain(from..end));
                        for client in &mut plan.clients {
                            client.ack_delay_ms = (client.ack_delay_ms * slower).min(ACK_DELAY_MS);
                        }
                        plan.bound_ms = bound_ms(plan);
                    });
                }
                run /= 2;
            }
        }
    }

    fn drop_settings(&mut self) {
        for place in (0..self.best.settings.len()).rev() {
            self.change(|plan| drop(plan.settings.remove(place)));
        }
    }

    /// Makes each step and client plainer, one feature at a time.
    fn simplify(&mut self) {
        for place in 0..self.best.clients.len() {
            for simpler in simplify::clients(&self.best.clients[place]) {
                self.change(|plan| plan.clients[place] = simpler);
            }
        }
        for place in 0..self.best.steps.len() {
            for simpler in simplify::steps(&self.best.steps[place].what) {
                self.change(|plan| plan.steps[place].what = simpler);
            }
        }
    }

    /// Brings steps closer together, and the end closer to them.
    fn shorten(&mut self) {
        self.change(end_earlier);
        for place in 0..self.best.steps.len() {
            let before_ms = if place == 0 { 0 } else { self.best.steps[place - 1].at_ms };
            let gap_ms = self.best.steps[place].at_ms - before_ms;
            for shorter_ms in [0, 1, 10, 100, gap_ms / 2].into_iter().filter(|ms| *ms < gap_ms) {
                if self.change(|plan| bring_forward(plan, place, gap_ms - shorter_ms)) {
                    break;
                }
            }
        }
        self.change(|plan| plan.seed = 0);
    }
}

/// Ends the faults right after the last step, and gives no more time than that leaves owed.
fn end_earlier(plan: &mut Plan) {
    plan.calm_at_ms = plan.steps.last().map_or(0, |step| step.at_ms) + 1;
    plan.bound_ms = plan.bound_ms.min(bound_ms(plan));
}

fn bring_forward(plan: &mut Plan, from: usize, by_ms: u64) {
    for step in &mut plan.steps[from..] {
        step.at_ms -= by_ms;
    }
    plan.calm_at_ms -= by_ms;
}

/// Gives what `client` does to `other`.
fn merge_client(plan: &mut Plan, client: usize, other: usize) {
    for step in &mut plan.steps {
        if let Some(known) = step.what.client_mut()
            && *known == client
        {
            *known = other;
        }
    }
    remove_client(plan, client);
}

/// Gives the room of the publication at `place` to an earlier one of the same kind.
fn fill_publish(plan: &mut Plan, place: usize, earlier: usize) {
    let Do::Publish { client, topic, qos, fill_bytes, .. } = plan.steps[place].what.clone() else {
        return;
    };
    if let Do::Publish { client: other, topic: same, qos: same_qos, fill_bytes: fill, .. } =
        &mut plan.steps[earlier].what
        && (*other, &*same, *same_qos) == (client, &topic, qos)
    {
        *fill += fill_bytes + PUBLICATION_BYTES;
        plan.steps.remove(place);
    }
}

fn remove_client(plan: &mut Plan, client: usize) {
    plan.clients.remove(client);
    plan.steps.retain(|step| step.what.client() != Some(client));
    for step in &mut plan.steps {
        if let Some(known) = step.what.client_mut()
            && *known > client
        {
            *known -= 1;
        }
    }
    plan.dead.retain(|dead| *dead != client);
    for dead in &mut plan.dead {
        if *dead > client {
            *dead -= 1;
        }
    }
}
