package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;

public final class AssetManager {
  private final File folder;
  private final boolean compressed;

  public AssetManager(File folder, boolean compressed) {
    this.folder = folder;
    this.compressed = compressed;
  }

  public InputStream open(String name) throws IOException {
    return new FileInputStream(new File(folder, name));
  }

  public AssetFileDescriptor openFd(String name) throws IOException {
    if (compressed) {
      throw new FileNotFoundException("it is probably compressed");
    }
    return new AssetFileDescriptor(new FileInputStream(new File(folder, name)));
  }
}
