package android.app;

import android.content.Context;
import android.os.Bundle;
import android.view.View;
import java.io.File;

public class Activity extends Context {
  public Activity() {
    super(new File("."), false, new File("."));
  }

  protected void onCreate(Bundle state) {}

  protected void onDestroy() {}

  public void setContentView(View view) {}

  public final void runOnUiThread(Runnable action) {
    action.run();
  }
}
