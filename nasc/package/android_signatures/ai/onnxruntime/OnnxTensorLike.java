// SPDX-License-Identifier: Apache-2.0
package ai.onnxruntime;

public abstract class OnnxTensorLike implements OnnxValue {}
