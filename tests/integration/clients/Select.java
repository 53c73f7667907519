// pgjdbc through the bridge: login by token, parameters, a prepared statement, an error, a transaction.
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;

public class Select {
    public static void main(String[] arguments) throws Exception {
        Properties settings = new Properties();
        settings.setProperty("user", "agent");
        settings.setProperty("password", System.getenv("TOKEN"));
        settings.setProperty("sslmode", "verify-full");
        settings.setProperty("sslrootcert", System.getenv("CA"));
        String url = "jdbc:postgresql://localhost:" + System.getenv("PORT") + "/app";
        try (Connection connection = DriverManager.getConnection(url, settings)) {
            try (PreparedStatement statement = connection.prepareStatement("select who from invoices where id = ?")) {
                for (int id = 1; id <= 7; id++) { // from the fifth on pgjdbc uses a named server-side statement
                    statement.setInt(1, id);
                    ResultSet rows = statement.executeQuery();
                    rows.next();
                    System.out.println(rows.getString(1));
                }
            }
            try {
                connection.createStatement().executeQuery("select * from missing_jdbc");
            } catch (SQLException error) {
                System.out.println("error " + error.getSQLState());
            }
            connection.setAutoCommit(false);
            connection.createStatement().executeUpdate("insert into t values (7001, 'jdbc')");
            connection.rollback();
            ResultSet rows = connection.createStatement().executeQuery("select count(*) from t where id = 7001");
            rows.next();
            System.out.println("rolled back " + rows.getInt(1));
            connection.commit();
        }
    }
}
