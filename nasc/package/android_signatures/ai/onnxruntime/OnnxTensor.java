// SPDX-License-Identifier: Apache-2.0
package ai.onnxruntime;

import java.nio.FloatBuffer;
import java.nio.LongBuffer;

public class OnnxTensor extends OnnxTensorLike {
  public static native OnnxTensor createTensor(
      OrtEnvironment environment, LongBuffer data, long[] shape) throws OrtException;

  public native FloatBuffer getFloatBuffer();

  @Override
  public native void close();
}
