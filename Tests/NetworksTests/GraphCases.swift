import Kernels

extension NetworkCase {
    /// Networks of layers, and of layers in places, that no built-in architecture has.
    static let graphs = [
        NetworkCase(
            architecture: "odd windows", shape: ImageShape(2, 9, 8), baseWidth: 0,
            layers: """
                {"name": "c1", "type": "conv", "inputs": ["input"], "channels": 6, "kernel": [3, 2], "stride": 2,
                 "padding": [0, 1, 2, 0], "bias": true},
                {"name": "n1", "type": "batch_norm", "inputs": ["c1"], "epsilon": 0.01, "momentum": 0.3},
                {"name": "a1", "type": "silu", "inputs": ["n1"]},
                {"name": "p1", "type": "average_pool", "inputs": ["a1"], "window": 3, "stride": 1, "padding": 1},
                {"name": "c2", "type": "conv", "inputs": ["p1"], "channels": 4, "kernel": [1, 3], "groups": 2,
                 "padding": [0, 1, 0, 1]},
                {"name": "n2", "type": "batch_norm", "inputs": ["c2"]},
                {"name": "p2", "type": "max_pool", "inputs": ["n2"], "window": 2, "stride": 2},
                {"name": "f", "type": "flatten", "inputs": ["p2"]},
                {"name": "hidden", "type": "linear", "inputs": ["f"], "outputs": 7},
                {"name": "a2", "type": "relu", "inputs": ["hidden"]},
                {"name": "logits", "type": "linear", "inputs": ["a2"], "outputs": 5, "bias": false}
                """),
        NetworkCase(
            architecture: "before weights", shape: ImageShape(3, 6, 6), baseWidth: 0,
            layers: """
                {"name": "a", "type": "relu", "inputs": ["input"]},
                {"name": "p", "type": "average_pool", "inputs": ["a"], "window": 2, "stride": 2},
                {"name": "s", "type": "silu", "inputs": ["p"]},
                {"name": "c", "type": "conv", "inputs": ["s"], "channels": 3, "kernel": 1, "bias": true},
                {"name": "sum", "type": "add", "inputs": ["s", "c"]},
                {"name": "n", "type": "batch_norm", "inputs": ["sum"]},
                {"name": "twice", "type": "add", "inputs": ["n", "n"]},
                {"name": "again", "type": "add", "inputs": ["twice", "p"]},
                {"name": "f", "type": "flatten", "inputs": ["again"]},
                {"name": "logits", "type": "linear", "inputs": ["f"], "outputs": 5}
                """),
        NetworkCase(
            architecture: "norm first, ReLU last", shape: ImageShape(2, 5, 5), baseWidth: 0,
            layers: """
                {"name": "n", "type": "batch_norm", "inputs": ["input"]},
                {"name": "left", "type": "conv", "inputs": ["n"], "channels": 5, "kernel": 3, "stride": 2},
                {"name": "right", "type": "conv", "inputs": ["n"], "channels": 5, "kernel": 4, "stride": 3, "padding": 1},
                {"name": "sum", "type": "add", "inputs": ["right", "left"]},
                {"name": "act", "type": "relu", "inputs": ["sum"]},
                {"name": "pool", "type": "global_average_pool", "inputs": ["act"]},
                {"name": "direct", "type": "global_average_pool", "inputs": ["n"]},
                {"name": "fc", "type": "linear", "inputs": ["direct"], "outputs": 5},
                {"name": "both", "type": "add", "inputs": ["fc", "pool"]},
                {"name": "logits", "type": "relu", "inputs": ["both"]}
                """),
        NetworkCase(
            architecture: "transformer", shape: ImageShape(3, 8, 6), baseWidth: 0,
            layers: """
                {"name": "embed", "type": "conv", "inputs": ["input"], "channels": 6, "kernel": 2, "stride": 2, "bias": true},
                {"name": "cls", "type": "class_token", "inputs": ["embed"]},
                {"name": "pos", "type": "position_embedding", "inputs": ["cls"]},
                {"name": "n1", "type": "layer_norm", "inputs": ["pos"]},
                {"name": "qkv", "type": "token_linear", "inputs": ["n1"], "outputs": 18},
                {"name": "att", "type": "attention", "inputs": ["qkv"], "heads": 2},
                {"name": "proj", "type": "token_linear", "inputs": ["att"], "outputs": 6},
                {"name": "sum1", "type": "add", "inputs": ["pos", "proj"]},
                {"name": "n2", "type": "layer_norm", "inputs": ["sum1"], "epsilon": 1e-6},
                {"name": "fc1", "type": "token_linear", "inputs": ["n2"], "outputs": 10},
                {"name": "act", "type": "gelu", "inputs": ["fc1"]},
                {"name": "fc2", "type": "token_linear", "inputs": ["act"], "outputs": 6, "bias": false},
                {"name": "sum2", "type": "add", "inputs": ["sum1", "fc2"]},
                {"name": "norm", "type": "layer_norm", "inputs": ["sum2"]},
                {"name": "first", "type": "select_token", "inputs": ["norm"], "index": 0},
                {"name": "logits", "type": "linear", "inputs": ["first"], "outputs": 5}
                """),
        NetworkCase(
            architecture: "tokens before weights, used twice", shape: ImageShape(6, 3, 2), baseWidth: 0,
            layers: """
                {"name": "a0", "type": "attention", "inputs": ["input"], "heads": 1},
                {"name": "s0", "type": "select_token", "inputs": ["a0"], "index": 5},
                {"name": "g0", "type": "gelu", "inputs": ["s0"]},
                {"name": "q", "type": "token_linear", "inputs": ["input"], "outputs": 6},
                {"name": "gq", "type": "gelu", "inputs": ["q"]},
                {"name": "a1", "type": "attention", "inputs": ["gq"], "heads": 2},
                {"name": "a2", "type": "attention", "inputs": ["gq"], "heads": 1},
                {"name": "two", "type": "add", "inputs": ["a1", "a2"]},
                {"name": "pos", "type": "position_embedding", "inputs": ["two"]},
                {"name": "both", "type": "add", "inputs": ["pos", "two"]},
                {"name": "ln", "type": "layer_norm", "inputs": ["both"]},
                {"name": "also", "type": "add", "inputs": ["ln", "both"]},
                {"name": "t1", "type": "class_token", "inputs": ["also"]},
                {"name": "s1", "type": "select_token", "inputs": ["t1"], "index": 3},
                {"name": "s2", "type": "select_token", "inputs": ["t1"], "index": 0},
                {"name": "mean", "type": "global_average_pool", "inputs": ["t1"]},
                {"name": "m1", "type": "add", "inputs": ["s1", "s2"]},
                {"name": "m2", "type": "add", "inputs": ["m1", "mean"]},
                {"name": "m3", "type": "add", "inputs": ["m2", "g0"]},
                {"name": "logits", "type": "linear", "inputs": ["m3"], "outputs": 5}
                """),
        // The output of a BatchNorm that is made again for the convolution, beside others that read it.
        NetworkCase(
            architecture: "norm read by many", shape: ImageShape(2, 4, 4), baseWidth: 0,
            layers: """
                {"name": "c", "type": "conv", "inputs": ["input"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "n", "type": "batch_norm", "inputs": ["c"]},
                {"name": "deep", "type": "conv", "inputs": ["n"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "s", "type": "silu", "inputs": ["n"]},
                {"name": "sum", "type": "add", "inputs": ["deep", "s"]},
                {"name": "n2", "type": "batch_norm", "inputs": ["sum"]},
                {"name": "deep2", "type": "conv", "inputs": ["n2"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "ln", "type": "layer_norm", "inputs": ["n2"]},
                {"name": "n3", "type": "batch_norm", "inputs": ["n2"]},
                {"name": "sum2", "type": "add", "inputs": ["deep2", "ln"]},
                {"name": "sum3", "type": "add", "inputs": ["sum2", "n3"]},
                {"name": "pool", "type": "global_average_pool", "inputs": ["sum3"]},
                {"name": "logits", "type": "linear", "inputs": ["pool"], "outputs": 5}
                """),
        // Sums behind BatchNorms: every second is made again, for which its residual has to be there, although the only
        // convolution that reads that residual ("late") comes last; "kept" has its signs from the output.
        NetworkCase(
            architecture: "chain of sums", shape: ImageShape(2, 4, 4), baseWidth: 0,
            layers: """
                {"name": "c0", "type": "conv", "inputs": ["input"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "n0", "type": "batch_norm", "inputs": ["c0"]},
                {"name": "r0", "type": "relu", "inputs": ["n0"]},
                {"name": "side", "type": "conv", "inputs": ["input"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "c1", "type": "conv", "inputs": ["side"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "n1", "type": "batch_norm", "inputs": ["c1"]},
                {"name": "s1", "type": "add", "inputs": ["n1", "r0"]},
                {"name": "r1", "type": "relu", "inputs": ["s1"]},
                {"name": "c2", "type": "conv", "inputs": ["r1"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "n2", "type": "batch_norm", "inputs": ["c2"]},
                {"name": "s2", "type": "add", "inputs": ["n2", "r1"]},
                {"name": "r2", "type": "relu", "inputs": ["s2"]},
                {"name": "c3", "type": "conv", "inputs": ["r2"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "n3", "type": "batch_norm", "inputs": ["c3"]},
                {"name": "s3", "type": "add", "inputs": ["n3", "r2"]},
                {"name": "r3", "type": "relu", "inputs": ["s3"]},
                {"name": "kept", "type": "conv", "inputs": ["r3"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "late", "type": "conv", "inputs": ["r0"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "both", "type": "add", "inputs": ["kept", "late"]},
                {"name": "pool", "type": "global_average_pool", "inputs": ["both"]},
                {"name": "logits", "type": "linear", "inputs": ["pool"], "outputs": 5}
                """),
    ]
}

extension NetworkCase {
    /// What DenseNet, Inception, squeeze-and-excitation and dilated networks are made of, in awkward places.
    static let branches = [
        NetworkCase(
            architecture: "dense", shape: ImageShape(3, 9, 7), baseWidth: 0,
            layers: """
                {"name": "c0", "type": "conv", "inputs": ["input"], "channels": 5, "kernel": 3, "padding": 1},
                {"name": "n1", "type": "batch_norm", "inputs": ["c0"]},
                {"name": "a1", "type": "relu", "inputs": ["n1"]},
                {"name": "c1", "type": "conv", "inputs": ["a1"], "channels": 3, "kernel": 3, "padding": 1},
                {"name": "d1", "type": "concat", "inputs": ["c0", "c1"]},
                {"name": "n2", "type": "batch_norm", "inputs": ["d1"]},
                {"name": "a2", "type": "relu", "inputs": ["n2"]},
                {"name": "c2", "type": "conv", "inputs": ["a2"], "channels": 4, "kernel": 3, "padding": 1},
                {"name": "d2", "type": "concat", "inputs": ["c0", "c1", "c2", "c1"]},
                {"name": "t", "type": "conv", "inputs": ["d2"], "channels": 6, "kernel": 1},
                {"name": "p", "type": "average_pool", "inputs": ["t"], "window": 2, "stride": 2},
                {"name": "n3", "type": "batch_norm", "inputs": ["p"]},
                {"name": "a3", "type": "relu", "inputs": ["n3"]},
                {"name": "g", "type": "global_average_pool", "inputs": ["a3"]},
                {"name": "logits", "type": "linear", "inputs": ["g"], "outputs": 5}
                """),
        NetworkCase(
            architecture: "inception", shape: ImageShape(2, 8, 9), baseWidth: 0,
            layers: """
                {"name": "s", "type": "conv", "inputs": ["input"], "channels": 6, "kernel": 3, "stride": [2, 1]},
                {"name": "a", "type": "relu", "inputs": ["s"]},
                {"name": "b1", "type": "conv", "inputs": ["a"], "channels": 3, "kernel": 1},
                {"name": "b2", "type": "conv", "inputs": ["a"], "channels": 4, "kernel": [1, 7], "padding": [0, 3, 0, 3]},
                {"name": "b2n", "type": "batch_norm", "inputs": ["b2"]},
                {"name": "b2a", "type": "relu", "inputs": ["b2n"]},
                {"name": "b3", "type": "conv", "inputs": ["b2a"], "channels": 5, "kernel": [3, 1], "padding": [1, 0, 1, 0]},
                {"name": "b4", "type": "average_pool", "inputs": ["a"], "window": 3, "padding": 1, "count_padding": false},
                {"name": "b5", "type": "max_pool", "inputs": ["a"], "window": [1, 3], "padding": [0, 1, 0, 1]},
                {"name": "cat", "type": "concat", "inputs": ["b1", "b3", "b4", "b5"]},
                {"name": "last", "type": "relu", "inputs": ["cat"]},
                {"name": "r1", "type": "max_pool", "inputs": ["last"], "window": 3, "stride": 2, "padding": [0, 0, 1, 1]},
                {"name": "r2", "type": "average_pool", "inputs": ["last"], "window": [3, 2], "stride": 2,
                 "padding": [0, 0, 1, 0]},
                {"name": "r3", "type": "conv", "inputs": ["last"], "channels": 2, "kernel": 3, "stride": 2,
                 "padding": [1, 1, 0, 0]},
                {"name": "cat2", "type": "concat", "inputs": ["r1", "r1"]},
                {"name": "e", "type": "global_average_pool", "inputs": ["cat2"]},
                {"name": "e2", "type": "global_average_pool", "inputs": ["r2"]},
                {"name": "e3", "type": "global_average_pool", "inputs": ["r3"]},
                {"name": "ends", "type": "concat", "inputs": ["e", "e2", "e3"]},
                {"name": "logits", "type": "linear", "inputs": ["ends"], "outputs": 5}
                """),
        NetworkCase(
            architecture: "squeeze and excitation", shape: ImageShape(3, 7, 6), baseWidth: 0,
            layers: """
                {"name": "c", "type": "conv", "inputs": ["input"], "channels": 9, "kernel": 3, "padding": 1},
                {"name": "n", "type": "batch_norm", "inputs": ["c"]},
                {"name": "h", "type": "hard_swish", "inputs": ["n"]},
                {"name": "dw", "type": "conv", "inputs": ["h"], "channels": 9, "kernel": 5, "padding": 2, "groups": 9},
                {"name": "n2", "type": "batch_norm", "inputs": ["dw"]},
                {"name": "q", "type": "global_average_pool", "inputs": ["n2"]},
                {"name": "f1", "type": "conv", "inputs": ["q"], "channels": 4, "kernel": 1, "bias": true},
                {"name": "fa", "type": "relu6", "inputs": ["f1"]},
                {"name": "f2", "type": "conv", "inputs": ["fa"], "channels": 9, "kernel": 1, "bias": true},
                {"name": "fs", "type": "hard_sigmoid", "inputs": ["f2"]},
                {"name": "m", "type": "multiply", "inputs": ["n2", "fs"]},
                {"name": "l", "type": "leaky_relu", "inputs": ["m"], "slope": 0.2},
                {"name": "sum", "type": "add", "inputs": ["l", "h"]},
                {"name": "g", "type": "global_average_pool", "inputs": ["sum"]},
                {"name": "logits", "type": "linear", "inputs": ["g"], "outputs": 5}
                """),
        // Products of a tensor with itself, of all that a BatchNorm made again gives, before all weights and as the last.
        NetworkCase(
            architecture: "products", shape: ImageShape(2, 4, 5), baseWidth: 0,
            layers: """
                {"name": "early", "type": "sigmoid", "inputs": ["input"]},
                {"name": "gate", "type": "global_average_pool", "inputs": ["early"]},
                {"name": "gated", "type": "multiply", "inputs": ["input", "gate"]},
                {"name": "square", "type": "multiply", "inputs": ["gated", "gated"]},
                {"name": "both", "type": "concat", "inputs": ["square", "input"]},
                {"name": "c", "type": "conv", "inputs": ["both"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "n", "type": "batch_norm", "inputs": ["c"]},
                {"name": "a", "type": "relu", "inputs": ["n"]},
                {"name": "deep", "type": "conv", "inputs": ["a"], "channels": 32, "kernel": 3, "padding": 1},
                {"name": "t", "type": "tanh", "inputs": ["deep"]},
                {"name": "p", "type": "multiply", "inputs": ["t", "a"]},
                {"name": "one", "type": "average_pool", "inputs": ["p"], "window": [4, 5]},
                {"name": "one2", "type": "multiply", "inputs": ["one", "one"]},
                {"name": "p2", "type": "multiply", "inputs": ["p", "one2"]},
                {"name": "pool", "type": "global_average_pool", "inputs": ["p2"]},
                {"name": "fc", "type": "linear", "inputs": ["pool"], "outputs": 5},
                {"name": "w", "type": "linear", "inputs": ["one"], "outputs": 5},
                {"name": "s", "type": "sigmoid", "inputs": ["w"]},
                {"name": "logits", "type": "multiply", "inputs": ["fc", "s"]}
                """),
        NetworkCase(
            architecture: "dilated", shape: ImageShape(3, 11, 10), baseWidth: 0,
            layers: """
                {"name": "c1", "type": "conv", "inputs": ["input"], "channels": 16, "kernel": 3, "padding": 2, "dilation": 2},
                {"name": "n1", "type": "batch_norm", "inputs": ["c1"]},
                {"name": "a1", "type": "leaky_relu", "inputs": ["n1"]},
                {"name": "c2", "type": "conv", "inputs": ["a1"], "channels": 16, "kernel": 3, "padding": 3, "dilation": 3,
                 "groups": 4},
                {"name": "c3", "type": "conv", "inputs": ["a1"], "channels": 16, "kernel": [3, 2], "stride": [1, 2],
                 "padding": [2, 3, 2, 0], "dilation": [2, 3], "groups": 16},
                {"name": "c4", "type": "conv", "inputs": ["a1"], "channels": 16, "kernel": 3, "stride": 2, "padding": 2,
                 "dilation": 2},
                {"name": "g2", "type": "global_average_pool", "inputs": ["c2"]},
                {"name": "g3", "type": "global_average_pool", "inputs": ["c3"]},
                {"name": "g4", "type": "global_average_pool", "inputs": ["c4"]},
                {"name": "cat", "type": "concat", "inputs": ["g2", "g3", "g4"]},
                {"name": "sq", "type": "tanh", "inputs": ["cat"]},
                {"name": "logits", "type": "linear", "inputs": ["sq"], "outputs": 5}
                """),
    ]
}
