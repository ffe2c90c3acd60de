//! What can be done about an error: a kind with its numbers. Faces of the library (the command line) put it into their own words, with
//! the names that options and commands have there.

use std::path::PathBuf;

/// What can be done about an [`Error`](crate::Error).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// Nothing is known.
    None,
    /// Words that name no option and no command.
    Advice(String),

    /// More images, or fewer neighbours K: at most this many, where that is known.
    FewerNeighbours(Option<usize>),
    /// The exponent n of the pseudo density should be smaller.
    SmallerExponent,
    /// Copies should not count as neighbours.
    CollapseDuplicates,
    /// The density predictor cannot be had; the density by nearest neighbours can.
    NearestNeighbourDensity,
    /// The exponent m of the ratio rule has to be given, or a rule that needs none.
    GiveDimension,
    /// The quality of an image as its density, which needs no intrinsic dimension.
    QualityByDensity,
    /// A threshold as a percentile of the reference.
    PercentileThreshold,
    /// A larger pilot, or the power rule, which needs none.
    LargerPilot,
    /// A smaller minimum distance to real images.
    SmallerNovelty,
    /// Seeds to draw latents from.
    GiveSeeds,

    /// A reference has to be made first.
    MakeReference,
    /// An unfinished reference has to be finished.
    FinishReference,
    /// The features of a reference have to be made again.
    RemakeFeatures,
    /// A reference has to be made again, features and densities.
    RemakeReference,
    /// A reference has to be indexed (again); which, where it is known.
    IndexReference(Option<PathBuf>),
    /// A reference has to be indexed with a density predictor.
    TrainPredictor,
    /// What the reference was made with has to be used, or another reference.
    UseReferenceExtractor,

    /// A weights file has to be named; weights of these extractors are published.
    NameWeights {
        /// Extractors whose weights are published.
        published: Vec<&'static str>,
    },
    /// The weights of this extractor have to be fetched.
    FetchWeights {
        /// The extractor.
        name: String,
        /// Whether no digest of them is known beforehand, so that the user has to trust the first file.
        trust: bool,
        /// Whether naming a file would do as well.
        or_file: bool,
    },
    /// The weights of this extractor are fetched only if the user trusts the first file, or come from elsewhere.
    TrustOnFirstUse(String),
    /// Files can be put into the cache by hand: how.
    PutWeights(String),
    /// The weights in the cache, or the known extractors, can be listed.
    ListWeights,
    /// The weights of this architecture are needed here.
    WeightsOf(String),
    /// bfloat16 needs a CUDA device.
    CudaOrFloat32,
    /// An ONNX file brings its weights: it is named alone.
    NameOnnxAlone,
    /// Options of ONNX files were given without such a file.
    NameOnnxOrDropItsOptions,
    /// The image input of an ONNX file has to be named; these are the inputs.
    NameOnnxInput(String),
    /// The feature output of an ONNX file has to be named.
    NameOnnxOutput,
    /// An output with one feature vector for each image has to be named; these are the outputs.
    NameOnnxFeatures(String),
    /// The configuration beside an ONNX file should be corrected, or replaced by options.
    CorrectOnnxPreprocessing,
    /// A network with a gradient is needed.
    DifferentiableExtractor,

    /// The array of a features file has to be named; these are there.
    NameArray(Vec<String>),
    /// Another extractor, the one that gives what is asked for.
    OtherExtractor(String),
    /// The features file has one array without a name.
    DropArrayName,

    /// This build has no CUDA.
    BuildWithCuda,
    /// The CUDA device cannot be used; the processor can.
    UseProcessor,

    /// The configuration (the sizes) of a generator has to be given.
    GiveConfiguration,
    /// The flags of the training program have to be given as a configuration.
    GiveTrainingFlags,
    /// The file brings its configuration.
    DropConfiguration,
    /// The architecture has to be named; these are known.
    NameArchitecture(String),
    /// The file says its architecture.
    DropArchitecture,
    /// The file says both.
    DropArchitectureAndConfiguration,
    /// The architecture that was named may be the wrong one.
    CheckArchitecture,
    /// A class below this number has to be given.
    GiveClass(usize),
    /// A class has to be given; how many there are is not known.
    GiveAnyClass,
    /// The generator has no classes.
    DropClass,
    /// The generator has no truncation.
    DropTruncation,
    /// Truncation needs another latent space.
    TruncateInW,
    /// The latents may be of another space, or generator.
    CheckSpace,
    /// The generator has no denoising steps.
    DropDenoisingSteps,
    /// Another number of denoising steps, such as this one.
    DenoisingSteps(usize),
    /// What an input of an ONNX generator takes has to be said; these are the inputs.
    NameGeneratorInput(String),
    /// The output of an ONNX generator that is the image has to be said; these are the outputs.
    NameGeneratorOutput(String),
    /// The values of black and white of an ONNX generator have to be said.
    GiveGeneratorRange,
    /// Options of ONNX generators were given without such a file.
    NameOnnxGeneratorOrDropItsOptions,
    /// Latents can be moved without a gradient.
    SearchWithoutGradient,

    /// A program that makes images may be slow: a longer timeout, or fewer requests at once; or it does not write its answers out.
    LongerProgramTimeout,

    /// A smaller strength or a smaller truncation, or the other kind of density.
    SmallerPerturbation,
    /// The published strength, steps and step size.
    PublishedPerturbation,

    /// The batch has to be a multiple of this number, or there have to be fewer ranks.
    BatchMultipleOf(usize),
    /// The batch has to be below this number, or a multiple of it.
    BatchBelowOrMultipleOf(usize),
    /// Generated images are accepted too rarely.
    MilderGeneratedWeights,
    /// The training diverged; snapshots of before are here.
    MilderTraining(PathBuf),
    /// Styles cannot be mixed here.
    DropStyleMixing,
    /// Path lengths cannot be penalised here.
    DropPathLength,
    /// Second-order gradients have to be allowed when the process starts.
    AllowSecondOrder,

    /// A subset size between 2 and this number, or KID over all pairs.
    SmallerSubsets(usize),

    /// The shard has to be given as I/N.
    GiveShard,
    /// The shard has to be given as I/N, or by the scheduler, in these variables.
    GiveShardOrScheduler(String),
    /// One task, or a shard for each rank.
    OneTaskOrRankShards,
    /// Parts have to be made first.
    MakeParts,
    /// The directory holds something else.
    OtherOutput,
    /// Another name for a file to be written.
    OtherOutputFile,
    /// Another process writes the directory.
    WaitOrOtherOutput,
}

impl From<&str> for Remedy {
    fn from(words: &str) -> Self {
        if words.is_empty() { Remedy::None } else { Remedy::Advice(words.into()) }
    }
}

impl From<String> for Remedy {
    fn from(words: String) -> Self {
        if words.is_empty() { Remedy::None } else { Remedy::Advice(words) }
    }
}

impl From<&String> for Remedy {
    fn from(words: &String) -> Self {
        words.as_str().into()
    }
}
