// SPDX-License-Identifier: Apache-2.0
package ai.onnxruntime;

import java.nio.ByteBuffer;

public final class OrtEnvironment implements AutoCloseable {
  public static native OrtEnvironment getEnvironment();

  public native OrtSession createSession(ByteBuffer model, OrtSession.SessionOptions options)
      throws OrtException;

  @Override
  public native void close();
}
