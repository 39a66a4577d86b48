/// Sizes in bytes of the public structs in the version in which hosts first saw them: never changed, so that programs
/// compiled against any older header stay accepted. Sources/CIgdm/layout.c has the sizes of today.
enum FirstSize {
    static let attackOptions = 168
    static let attackReport = 128
    static let attackTuning = 80
    static let autoAttackOptions = 160
    static let batch = 80
    static let checkpointInfo = 152
    static let datasetInfo = 80
    static let evaluateOptions = 192
    static let evaluationRow = 80
    static let hostModel = 88
    static let loadOptions = 56
    static let modelInfo = 112
    static let modelOptions = 112
    static let searchTuning = 176
    static let stepReport = 112
    static let trainerDetails = 296
    static let trainerOptions = 280
    static let trainerPosition = 72
}
