package android.content.res;

import java.io.Closeable;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;

public class AssetFileDescriptor implements Closeable {
  private final FileInputStream file;

  AssetFileDescriptor(FileInputStream file) {
    this.file = file;
  }

  public FileDescriptor getFileDescriptor() {
    try {
      return file.getFD();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  public long getStartOffset() {
    return 0;
  }

  public long getLength() {
    try {
      return file.getChannel().size();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
