//! Which network of a checkpoint is meant where it holds several, by the names that training programs give them.

use super::tensor::TensorView;
use crate::formats::state_dict::{PartOf, Wanted};

/// Words for the running average of a network's weights.
const AVERAGE: [&str; 5] = ["ema", "swa", "average", "averaged", "avg"];
/// Words for a generator.
const GENERATOR: [&str; 4] = ["g", "gen", "generator", "netg"];
/// Words for a discriminator.
const DISCRIMINATOR: [&str; 5] = ["d", "disc", "discriminator", "netd", "critic"];
/// Names that say no more than that it is the network, the first that is there being taken.
const NETWORK: [&str; 11] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params",
    "weights",
    "unet",
    "state",
];

/// What wrappers keep beside the tensors of the network: counters of averages.
const COUNTERS: [&str; 5] = ["n_averaged", "initted", "step", "num_updates", "decay"];
/// The network whose average `ema-pytorch` keeps.
const AVERAGED: &str = "online_model";
/// Prefixes that wrappers put in front of every name.
const WRAPPERS: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// A longer name says nothing: a hostile file has names of megabytes, each for many values.
const LONGEST_NAME: usize = 256;

/// What one name says.
struct Words {
    average: bool,
    generator: bool,
    discriminator: bool,
}

impl Words {
    fn of(name: &str) -> Self {
        let name = if name.len() > LONGEST_NAME { String::new() } else { name.to_ascii_lowercase() };
        let says =
            |known: &[&str]| name.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| known.contains(&w));
        Self { average: says(&AVERAGE), generator: says(&GENERATOR), discriminator: says(&DISCRIMINATOR) }
    }

    /// Whether it tells one network of several from the others.
    fn tells(&self) -> bool {
        self.average || self.generator || self.discriminator
    }
}

/// Whether a name is that of an optimizer's state and the like, whose tensors are no weights.
pub(super) fn is_training_state(name: &str) -> bool {
    const WORDS: [&str; 5] = ["optim", "sched", "scaler", "callbacks", "loops"];
    name.len() <= LONGEST_NAME && WORDS.iter().any(|word| name.contains(word))
}

/// The place of a name among those that may be meant, the lowest first; `None` for a name that says nothing.
pub(super) fn rank(name: &str, wanted: Wanted) -> Option<(usize, usize)> {
    // Classes of names, the one that is meant first.
    const BEST_AVERAGE: usize = 0;
    const NAMED_ROLE: usize = 1;
    const NETWORK_ALONE: usize = 2;
    const OTHER_AVERAGE: usize = 3;
    const OTHER_ROLE: usize = 4;
    let Words { average, generator, discriminator } = Words::of(name);
    let is_other_role = match wanted {
        Wanted::Generator | Wanted::TrainedGenerator => discriminator,
        Wanted::Discriminator => generator && !discriminator,
    };
    if is_other_role {
        return Some((OTHER_ROLE, 0));
    }
    if average {
        // Of two averages the one that names its role comes first.
        let place = if wanted == Wanted::Generator { BEST_AVERAGE } else { OTHER_AVERAGE };
        return Some((place, usize::from(!generator && !discriminator)));
    }
    if generator || discriminator {
        return Some((NAMED_ROLE, 0));
    }
    NETWORK.iter().position(|known| *known == name).map(|place| (NETWORK_ALONE, place))
}

/// The tensors of one network among those of a flat state dict: of several that its first components name (`generator.…`,
/// `discriminator.…`, as Lightning writes them) the wanted one, without what wrappers add to the names. The choices are added to `parts`.
pub(super) fn network_among(
    mut tensors: Vec<(String, TensorView)>,
    wanted: Wanted,
    parts: &mut Vec<PartOf>,
) -> Vec<(String, TensorView)> {
    for _ in 0..MAX_NESTED {
        let cut = wrapped(&tensors);
        if cut > 0 {
            tensors.retain(|(name, _)| !COUNTERS.contains(&name.as_str()));
            tensors.iter_mut().for_each(|(name, _)| drop(name.drain(..cut)));
        }
        let mut groups: Vec<&str> = Vec::new();
        for (name, _) in &tensors {
            let group = name.split('.').next().unwrap_or_default();
            if groups.last() != Some(&group) && !groups.contains(&group) {
                groups.push(group);
            }
            if groups.len() > MAX_GROUPS {
                return tensors;
            }
        }
        let telling = groups.iter().filter(|group| **group == AVERAGED || Words::of(group).tells()).count();
        let best = groups.iter().filter(|group| Words::of(group).tells()).min_by_key(|g| rank(g, wanted));
        let Some(best) = best.filter(|_| telling > 1).map(|best| format!("{best}.")) else { return tensors };
        let mut of: Vec<String> = groups.iter().map(|group| group.to_string()).collect();
        of.sort_unstable();
        parts.push(PartOf { name: best.trim_end_matches('.').into(), of });
        tensors.retain(|(name, _)| is_wrapped(name, &best));
        tensors.iter_mut().for_each(|(name, _)| drop(name.drain(..best.len())));
    }
    tensors
}

/// Bytes of the prefixes that wrappers have put in front of every name but those of their counters.
fn wrapped(tensors: &[(String, TensorView)]) -> usize {
    let mut cut = 0;
    let of_network = || tensors.iter().map(|(name, _)| name.as_str()).filter(|name| !COUNTERS.contains(name));
    let is_prefix = |cut: usize, prefix: &str| {
        of_network().next().is_some()
            && of_network().all(|name| name.get(cut..).is_some_and(|rest| is_wrapped(rest, prefix)))
    };
    while let Some(prefix) = WRAPPERS.iter().find(|prefix| is_prefix(cut, prefix)) {
        cut += prefix.len();
    }
    cut
}

/// Most networks in networks.
const MAX_NESTED: usize = 16;

/// Most first components of names among which one network is looked for.
const MAX_GROUPS: usize = 64;

fn is_wrapped(name: &str, prefix: &str) -> bool {
    name.len() > prefix.len() && name.starts_with(prefix)
}
