//! What to do about an error, in the words of the command line: the one place that ties the library's remedies to flags and commands.

use crate::error::Error;
use crate::remedy::Remedy;

/// The hint for an error; `None` where nothing is known.
pub fn hint(error: &Error) -> Option<String> {
    Some(match error.remedy()? {
        Remedy::None => return None,
        Remedy::Advice(words) => words.clone(),
        Remedy::FewerNeighbours(Some(0 | 1)) => "add images".into(),
        Remedy::FewerNeighbours(Some(most)) => format!("add images, or lower --k to at most {most}"),
        Remedy::FewerNeighbours(None) => "add images, or use a smaller --k (eval: --k-density too)".into(),
        Remedy::SmallerExponent => "use a smaller --exponent".into(),
        Remedy::CollapseDuplicates => {
            "check the images and the extractor's weights; with copies, use --duplicates collapse or a higher --k".into()
        }
        Remedy::NearestNeighbourDensity => "use --density knn, which needs no predictor".into(),
        Remedy::GiveDimension => "give one with --dimension, or use --rule power:B".into(),
        Remedy::QualityByDensity => "use --quality density".into(),
        Remedy::PercentileThreshold => "give a percentile instead (--threshold p80)".into(),
        Remedy::LargerPilot => "use a larger --pilot or pool, or --rule power:B".into(),
        Remedy::SmallerNovelty => "lower --novel".into(),
        Remedy::GiveSeeds => "give --seeds".into(),
        Remedy::MakeReference => "make one: `pd embed IMAGES -o REF/`, then `pd index REF/`".into(),
        Remedy::FinishReference => "run its `pd embed` command again to finish it".into(),
        Remedy::RemakeFeatures => "make the reference again with `pd embed`".into(),
        Remedy::RemakeReference => "make the reference again with `pd embed` and `pd index`".into(),
        Remedy::IndexReference(Some(dir)) => format!("run `pd index {}`", dir.display()),
        Remedy::IndexReference(None) => "run `pd index` on the reference again".into(),
        Remedy::TrainPredictor => "run `pd index` without --no-predictor, or use --density knn".into(),
        Remedy::UseReferenceExtractor => {
            "use what the reference was made with (--weights FILE names the weights), or make another reference".into()
        }
        Remedy::NameWeights { published } => {
            format!("give a file with --weights FILE; weights are published for {}", published.join(", "))
        }
        Remedy::FetchWeights { name, trust, or_file: false } => fetch_command(name, *trust),
        Remedy::FetchWeights { name, trust, or_file: true } => {
            format!("{}, or --weights FILE", fetch_command(name, *trust))
        }
        Remedy::TrustOnFirstUse(name) => format!(
            "`{}` takes it and holds every later download to it; `pd weights list` shows where a digest is known",
            fetch_command(name, true)
        ),
        Remedy::PutWeights(files) => format!("put {files}, or name the file with --weights FILE"),
        Remedy::ListWeights => "`pd weights list` checks the weights in the cache".into(),
        Remedy::WeightsOf(name) => {
            format!("the weights of `{name}` belong here; `pd weights list` shows the known ones")
        }
        Remedy::CudaOrFloat32 => "add --device cuda, or use --dtype f32".into(),
        Remedy::NameOnnxAlone => "give the file alone: --extractor FILE.onnx".into(),
        Remedy::NameOnnxOrDropItsOptions => {
            "--onnx-input, --onnx-output, --mean and --std are for ONNX files: leave them out, or name a file: --extractor FILE.onnx".into()
        }
        Remedy::NameOnnxInput(inputs) => format!("name one with --onnx-input; the inputs are {inputs}"),
        Remedy::NameOnnxOutput => "name the one that holds the features with --onnx-output".into(),
        Remedy::NameOnnxFeatures(outputs) => format!(
            "choose one of shape [1, D] with --onnx-output (outputs: {outputs}), or export the model with pooling"
        ),
        Remedy::CorrectOnnxPreprocessing => {
            "correct it, or remove it and give --mean, --std and --fit instead".into()
        }
        Remedy::DifferentiableExtractor => {
            "`pd perturb --search zero-order` needs none; else use a reference made with a built-in extractor (`pd weights list`)".into()
        }
        Remedy::NameArray(arrays) => format!("--key NAME, one of: {}", arrays.join(", ")),
        Remedy::OtherExtractor(name) => format!("give --extractor {name}, or name several with --spaces"),
        Remedy::DropArrayName => "leave --key out".into(),
        Remedy::BuildWithCuda => {
            "use --device cpu, or build it anew: cargo build --release --features cuda".into()
        }
        Remedy::UseProcessor => "`pd doctor` shows what there is; --device cpu runs on the processor".into(),
        Remedy::GiveConfiguration => {
            "name the official file or directory, or give the sizes with --config".into()
        }
        Remedy::GiveTrainingFlags => {
            "give the flags of its training with --config, as JSON: {\"image_size\": 64, …}".into()
        }
        Remedy::DropConfiguration => "leave --config out".into(),
        Remedy::NameArchitecture(known) => format!("give it with --arch: {known}"),
        Remedy::DropArchitecture => "leave --arch out".into(),
        Remedy::DropArchitectureAndConfiguration => "leave --arch and --config out".into(),
        Remedy::CheckArchitecture => "is --arch right?".into(),
        Remedy::GiveClass(count) => format!("give --class, from 0 to {}", count.saturating_sub(1)),
        Remedy::GiveAnyClass => {
            "give --class, a number from 0; the file does not say how many there are".into()
        }
        Remedy::DropClass => "leave --class out".into(),
        Remedy::DropTruncation => "leave --trunc out".into(),
        Remedy::TruncateInW => "use --space w, or leave --trunc out".into(),
        Remedy::CheckSpace => "are these latents of another generator, or of another --space?".into(),
        Remedy::DropDenoisingSteps => "leave --ddim-steps out".into(),
        Remedy::DenoisingSteps(count) => format!("take a divisor, such as --ddim-steps {count}"),
        Remedy::NameGeneratorInput(inputs) => format!(
            "say it with --generator-input NAME=latent, NAME=class or NAME=NUMBER; the inputs are {inputs}"
        ),
        Remedy::NameGeneratorOutput(outputs) => {
            format!("name it with --generator-output; the outputs are {outputs}")
        }
        Remedy::GiveGeneratorRange => {
            "say it with --generator-range BLACK,WHITE, such as -1,1 or 0,255".into()
        }
        Remedy::NameOnnxGeneratorOrDropItsOptions => {
            "--generator-input, --generator-output and --generator-range are for ONNX files: leave them out, or name a file: --generator FILE.onnx".into()
        }
        Remedy::SearchWithoutGradient => {
            "--search zero-order moves latents without one; --passes says how many images that may take".into()
        }
        Remedy::LongerProgramTimeout => {
            "if it is only slow, raise --generator-timeout or lower --batch; each answer has to be a JSON object on a line of its own, written out at once (flush)".into()
        }
        Remedy::SmallerPerturbation => {
            "a smaller --eps or --trunc keeps its latent where the networks work; --density knn and predictor have different gradients".into()
        }
        Remedy::PublishedPerturbation => {
            "published are --steps 10 --step-size 0.025 for --eps 0.1; give each --eps once".into()
        }
        Remedy::BatchMultipleOf(unit) => {
            format!("take a --batch that is a multiple of {unit}, or fewer ranks")
        }
        Remedy::BatchBelowOrMultipleOf(group) => format!("let --batch be below {group} or a multiple of it"),
        Remedy::MilderGeneratedWeights => {
            "take a weight nearer to 1 or another threshold for the generated side, a higher --max-rejection, or --sides real".into()
        }
        Remedy::MilderTraining(snapshots) => format!(
            "the snapshots in {} are from before; start anew with a lower --lr, a weight nearer to 1, or --gamma for R1",
            snapshots.display()
        ),
        Remedy::DropStyleMixing => "leave --style-mixing out".into(),
        Remedy::DropPathLength => "leave --path-length out".into(),
        Remedy::AllowSecondOrder => {
            "`pd finetune` sets it where --gamma or --path-length asks for one, or the family does".into()
        }
        Remedy::SmallerSubsets(most) => {
            format!("--kid-subset-size between 2 and {most}, or --metrics kid, which takes all pairs")
        }
        Remedy::GiveShard => "give --shard I/N".into(),
        Remedy::GiveShardOrScheduler(names) => format!("looked for {names}; or give --shard I/N"),
        Remedy::OneTaskOrRankShards => "start one task (srun -n 1), or use --shard auto without an array".into(),
        Remedy::MakeParts => "commands with --shard I/N make them".into(),
        Remedy::OtherOutput => "choose another -o, or remove it".into(),
        Remedy::OtherOutputFile => "choose another name for the file to write".into(),
        Remedy::WaitOrOtherOutput => {
            "wait for it or choose another -o; processes that share a run are started with --shard I/N, those of `pd finetune` by mpirun or srun --mpi=pmix".into()
        }
    })
}

/// The command that fetches the weights of an extractor.
pub(super) fn fetch_command(name: &str, trust: bool) -> String {
    let trust = if trust { " --trust-on-first-use" } else { "" };
    format!("pd weights fetch {name}{trust}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ways_are_put_into_words_with_flags() {
        let words = |remedy: Remedy| hint(&Error::data("no", remedy));
        assert_eq!(words(Remedy::None), None);
        assert_eq!(words("".into()), None);
        assert_eq!(words("look".into()).as_deref(), Some("look"));
        let few = words(Remedy::FewerNeighbours(Some(9)));
        assert_eq!(few.as_deref(), Some("add images, or lower --k to at most 9"));
        assert_eq!(words(Remedy::FewerNeighbours(Some(1))).as_deref(), Some("add images"));
        let fetch = |trust, or_file| words(Remedy::FetchWeights { name: "vit-b16".into(), trust, or_file });
        assert_eq!(fetch(false, true).as_deref(), Some("pd weights fetch vit-b16, or --weights FILE"));
        assert_eq!(fetch(true, false).as_deref(), Some("pd weights fetch vit-b16 --trust-on-first-use"));
        assert_eq!(words(Remedy::GiveClass(3)).as_deref(), Some("give --class, from 0 to 2"));
        assert!(words(Remedy::GiveAnyClass).unwrap().contains("does not say how many"));
    }
}
