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
